"""Joining and splitting: what goes in comes out at its own place."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput, ModelTensorReshape
from atoll.execution.batching.batch import join, needed_outputs, plan_batches, split
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor

PLAN = plan_batches(
    ModelConfig(
        name="m",
        max_batch_size=64,
        input=(
            ModelInput(name="X", data_type=DataType.INT32, dims=(2,)),
            ModelInput(name="TEXT", data_type=DataType.BYTES, dims=(1,), optional=True),
        ),
        output=(
            ModelOutput(name="X", data_type=DataType.INT32, dims=(2,)),
            ModelOutput(name="TEXT", data_type=DataType.BYTES, dims=(1,)),
        ),
    )
)


class Nowhere:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        raise AssertionError("joining sends nothing")


def request(rows: int, first: int, packed: bool, outputs: tuple[str, ...] = ()) -> InferenceRequest:
    numbers = np.arange(first, first + 2 * rows, dtype=np.int32).reshape(rows, 2)
    text = np.array([[b"%d" % n] for n in numbers[:, 0]], dtype=object)
    tensors = {}
    for name, datatype, array in (("X", DataType.INT32, numbers), ("TEXT", DataType.BYTES, text)):
        whole = Tensor(name, datatype, array.shape, array=array)
        tensors[name] = Tensor(name, datatype, array.shape, buffer=bytes(whole.packed())) if packed else whole
    made = InferenceRequest("m", tensors, Nowhere(), output_names=outputs)
    made.batch_size = rows
    return made


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1000), st.booleans()), min_size=1, max_size=8))
def test_an_identity_gives_everybody_what_he_sent(members: list[tuple[int, int, bool]]) -> None:
    requests = [request(*member) for member in members]
    size = sum(one.batch_size for one in requests)
    joined = join(requests, PLAN)
    assert joined["X"].shape == (size, 2)
    for one, tensors in zip(requests, split(joined, requests, PLAN, size), strict=True):
        for tensor in tensors:
            assert np.array_equal(tensor.array(), one.inputs[tensor.name].array())
            assert bytes(tensor.packed()) == bytes(one.inputs[tensor.name].packed())


def test_outputs_come_in_the_models_order() -> None:
    one = request(1, 0, False, ("TEXT", "X"))
    (tensors,) = split(join([one], PLAN), [one], PLAN, 1)
    assert [tensor.name for tensor in tensors] == ["X", "TEXT"]


def test_only_what_somebody_wants_is_computed() -> None:
    assert list(needed_outputs([request(1, 0, False, ("TEXT",))], PLAN)) == ["TEXT"]
    both = [request(1, 0, False, ("TEXT",)), request(1, 0, False)]
    assert list(needed_outputs(both, PLAN)) == ["X", "TEXT"]


def test_an_absent_optional_input_stays_absent() -> None:
    one = request(1, 0, False)
    del one.inputs["TEXT"]
    assert list(join([one], PLAN)) == ["X"]


def test_reshape_shows_the_model_another_shape() -> None:
    plan = plan_batches(
        ModelConfig(
            name="m",
            max_batch_size=8,
            input=(
                ModelInput(
                    name="A", data_type=DataType.FP32, dims=(-1, 4), reshape=ModelTensorReshape(shape=(2, 2, -1))
                ),
            ),
            output=(ModelOutput(name="B", data_type=DataType.FP32, dims=(1,), reshape=ModelTensorReshape()),),
        )
    )
    array: Any = np.zeros((3, 5, 4), np.float32)
    one = InferenceRequest("m", {"A": Tensor.from_numpy("A", array)}, Nowhere())
    one.batch_size = 3
    assert join([one], plan)["A"].shape == (3, 2, 2, 5)
    (tensors,) = split({"B": np.zeros(3, np.float32)}, [one], plan, 3)
    assert tensors[0].shape == (3, 1)
