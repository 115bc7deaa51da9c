"""Which requests of different shapes may share a batch, and which are refused at the door."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInput, ModelParameter
from atoll.errors import InvalidArgumentError
from atoll.execution.batching.batch import join, plan_batches, split
from atoll.models.request_validation import RequestSpec, request_spec, validate
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor


class Nowhere:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        raise AssertionError("a refused request's sender hears nothing")


def config(*inputs: ModelInput, padding: Any = None, max_batch_size: int = 8) -> ModelConfig:
    said = {} if padding is None else {"padding": ModelParameter(string_value=json.dumps(padding))}
    return ModelConfig(name="m", max_batch_size=max_batch_size, input=inputs, parameters=said)


def one(name: str, dims: tuple[int, ...] = (-1,), **others: Any) -> ModelInput:
    return ModelInput(name=name, data_type=DataType.INT32, dims=dims, **others)


def key(spec: RequestSpec, packed: bool = False, **inputs: Any) -> Any:
    tensors = {}
    for name, found in inputs.items():
        array = np.zeros(found, np.int32) if isinstance(found, tuple) else np.array(found, np.int32)
        tensor = Tensor.from_numpy(name, array)
        if packed:
            tensor = Tensor(name, tensor.datatype, tensor.shape, buffer=bytes(tensor.packed()))
        tensors[name] = tensor
    request = InferenceRequest("m", tensors, Nowhere())
    validate(request, spec)
    return request.batch_key


def test_different_shapes_run_apart_unless_they_are_ragged_or_padded() -> None:
    plain = request_spec(config(one("X"), one("Y", (2,))))
    assert key(plain, X=(1, 2), Y=(1, 2)) == key(plain, X=(3, 2), Y=(3, 2))
    assert key(plain, X=(1, 2), Y=(1, 2)) != key(plain, X=(1, 3), Y=(1, 2))
    ragged = request_spec(config(one("X", allow_ragged_batch=True)))
    assert key(ragged, X=(1, 2)) == key(ragged, X=(2, 7))
    padded = request_spec(config(one("X"), padding={"inputs": {"X": {}}}))
    assert key(padded, X=(1, 2)) == key(padded, X=(2, 7))
    both = request_spec(config(one("X", allow_ragged_batch=True), one("Y")))
    assert key(both, X=(1, 2), Y=(1, 1)) == key(both, X=(1, 5), Y=(1, 1)) != key(both, X=(1, 2), Y=(1, 2))


@pytest.mark.parametrize("how", ["plain", "ragged", "padded", "fixed"])
def test_who_leaves_an_input_out_runs_with_others_who_do(how: str) -> None:
    optional = one("X", (3,) if how == "fixed" else (-1,), optional=True, allow_ragged_batch=how == "ragged")
    padding = {"inputs": {"X": {}}} if how == "padded" else None
    spec = request_spec(config(optional, one("Y", (1,)), padding=padding))
    assert key(spec, Y=(1, 1)) == key(spec, Y=(2, 1)) != key(spec, X=(1, 3), Y=(1, 1))


def test_buckets_are_kept_apart_where_that_is_asked_for() -> None:
    document = {"buckets": [4, 8], "inputs": {"X": {}}, "separate_buckets": True}
    spec = request_spec(config(one("X", (-1, 2, -1)), padding=document))
    assert key(spec, X=(1, 1, 2, 4)) == key(spec, X=(1, 4, 2, 0))
    assert key(spec, X=(1, 1, 2, 4)) != key(spec, X=(1, 1, 2, 5))
    assert key(spec, X=(1, 5, 2, 4)) != key(spec, X=(1, 4, 2, 5))


@pytest.mark.parametrize(
    ("shape", "text"),
    [((1, 9, 2, 1), "its dimension 1 can be padded to 8"), ((1, 8, 2, 5), "its dimension 3 can be padded to 4")],
)
def test_what_no_bucket_holds_is_refused(shape: tuple[int, ...], text: str) -> None:
    spec = request_spec(config(one("X", (-1, 2, -1)), padding={"inputs": {"X": {"buckets": [[8], [2, 4]]}}}))
    key(spec, X=(1, 8, 2, 4))
    with pytest.raises(InvalidArgumentError, match=text):
        key(spec, X=shape)
    with pytest.raises(InvalidArgumentError, match=text):
        key(spec, packed=True, X=shape)


SHAPE = one("SHAPE", (2,), is_shape_tensor=True)


def test_a_shape_tensor_has_no_batch_dimension_and_must_be_equal() -> None:
    spec = request_spec(config(one("X"), SHAPE))
    assert key(spec, X=(4, 2), SHAPE=[5, 6]) == key(spec, packed=True, X=(1, 2), SHAPE=[5, 6])
    assert key(spec, X=(1, 2), SHAPE=[5, 6]) != key(spec, X=(1, 2), SHAPE=[6, 5])
    with pytest.raises(
        InvalidArgumentError, match=r"unexpected shape for input 'SHAPE' .* Expected \[2\], got \[1,2\]"
    ):
        key(spec, X=(1, 2), SHAPE=[[5, 6]])
    with pytest.raises(InvalidArgumentError, match="batch-size must be <= 8"):
        key(spec, SHAPE=[5, 6], X=(9, 2))


def test_a_batch_has_its_shape_tensor_once() -> None:
    plan = plan_batches(config(one("X", (2,)), SHAPE))
    requests = []
    for rows in (1, 2):
        tensors = {"X": np.ones((rows, 2), np.int32), "SHAPE": np.array([5, 6], np.int32)}
        request = InferenceRequest("m", {k: Tensor.from_numpy(k, v) for k, v in tensors.items()}, Nowhere())
        validate(request, request_spec(config(one("X", (2,)), SHAPE)))
        requests.append(request)
    joined = join(requests, plan)
    assert joined["X"].shape == (3, 2)
    assert joined["SHAPE"].tolist() == [5, 6]
    assert split({}, requests, plan, 3) == [[], []]


shapes = st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(0, 9))


@given(shapes, shapes, st.booleans())
def test_padded_requests_share_a_batch_exactly_where_they_are_to(
    first: tuple[int, int, int], second: tuple[int, int, int], separate: bool
) -> None:
    document = {"buckets": [3, 6, 9], "inputs": {"X": {}}, "separate_buckets": separate}
    spec = request_spec(config(one("X", (-1, -1)), padding=document))
    same = [max(a - 1, 0) // 3 == max(b - 1, 0) // 3 for a, b in zip(first[1:], second[1:], strict=True)]
    assert (key(spec, X=first) == key(spec, X=second)) == (all(same) or not separate)
