"""Requests against models: what fits passes, what does not gets the real server's words."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.errors import InvalidArgumentError
from atoll.models.request_validation import RequestSpec, request_spec, validate
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor


def spec(max_batch_size: int = 8, dims: tuple[int, ...] = (16,), datatype: DataType = DataType.INT32) -> RequestSpec:
    return request_spec(
        ModelConfig(
            name="simple",
            max_batch_size=max_batch_size,
            input=(
                ModelInput(name="INPUT0", data_type=datatype, dims=dims),
                ModelInput(name="INPUT1", data_type=datatype, dims=dims),
            ),
            output=(ModelOutput(name="OUTPUT0", data_type=datatype, dims=dims),),
        )
    )


class Nowhere:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        raise AssertionError("a refused request's sender hears nothing")


def tensor(name: str, shape: tuple[int, ...] = (1, 16), size: int | None = None, datatype: str = "INT32") -> Tensor:
    kind = DataType[datatype]
    return Tensor(name, kind, shape, buffer=bytes(int(np.prod(shape)) * kind.size if size is None else size))


def check(*tensors: Tensor, against: RequestSpec | None = None, outputs: tuple[str, ...] = (), id: str = "") -> Any:
    request = InferenceRequest("simple", {t.name: t for t in tensors}, Nowhere(), output_names=outputs, id=id)
    validate(request, against or spec())
    return request


def test_a_fitting_request_gets_its_batch_size() -> None:
    assert check(tensor("INPUT0", (3, 16)), tensor("INPUT1", (3, 16)), outputs=("OUTPUT0",)).batch_size == 3


NO_ID = "[request id: <id_unknown>] "


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        (
            [tensor("INPUT0")],
            NO_ID
            + "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing required "
            "input(s) ['INPUT1']. Please provide all required input(s).",
        ),
        (
            [tensor("INPUT0"), tensor("INPUT1"), tensor("X")],
            NO_ID + "expected 2 inputs but got 3 inputs for model 'simple'. Got input(s) ['X','INPUT1','INPUT0']",
        ),
        ([tensor("X"), tensor("Y")], "unexpected inference input 'Y' for model 'simple'"),
        (
            [tensor("INPUT0", datatype="FP32"), tensor("INPUT1")],
            NO_ID + "inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'",
        ),
        (
            [tensor("INPUT0", (1, 15)), tensor("INPUT1")],
            NO_ID
            + "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [1,15]. NOTE: Setting a",
        ),
        (
            [tensor("INPUT0", (2, 16)), tensor("INPUT1")],
            NO_ID + "input 'INPUT0' batch size does not match other inputs for 'simple'",
        ),
        (
            [tensor("INPUT0", (9, 16)), tensor("INPUT1", (9, 16))],
            NO_ID + "inference request batch-size must be <= 8 for 'simple'",
        ),
        (
            [tensor("INPUT0", ()), tensor("INPUT1", ())],
            NO_ID + "input 'INPUT1' has no shape but model requires batch dimension for 'simple'",
        ),
        (
            [tensor("INPUT0", size=60), tensor("INPUT1", size=68)],
            NO_ID + "input byte size mismatch for input 'INPUT1' for model 'simple'. Expected 64, got 68",
        ),
        (
            [tensor("INPUT0", (0, 16)), tensor("INPUT1", (0, 16))],
            NO_ID + "input byte size mismatch for input 'INPUT1' for model 'simple'. Expected 64, got 0",
        ),
        (
            [tensor("INPUT0", (-1, 16), size=0), tensor("INPUT1", (-1, 16), size=0)],
            NO_ID + "input 'INPUT0' batch size does not match other inputs for 'simple'",
        ),
        (
            [tensor("INPUT0", (1, -1), size=0), tensor("INPUT1", (1, -1), size=0)],
            NO_ID + "All input dimensions should be specified for input 'INPUT1' for model 'simple', got [1,-1]",
        ),
        (
            [tensor("INPUT0", (1, -16), size=0), tensor("INPUT1")],
            NO_ID + "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [1,-16]",
        ),
    ],
)
def test_the_real_servers_words(tensors: list[Tensor], text: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        check(*tensors)
    assert str(raised.value).startswith(text)


def test_the_requests_id_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match=r"\[request id: my-id\] expected 2 inputs"):
        check(tensor("INPUT0"), id="my-id")


def test_an_unknown_output_is_refused_before_the_inputs_are_looked_at() -> None:
    with pytest.raises(InvalidArgumentError, match="unexpected inference output 'NOPE' for model 'simple'"):
        check(tensor("X"), outputs=("NOPE",))


def test_without_a_batch_dimension_the_note_is_left_out() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        check(tensor("INPUT0", (16,)), tensor("INPUT1", (16,)), against=spec(0, (-1, 16)))
    assert str(raised.value).endswith("Expected [-1,16], got [16]. ")


def test_dimensions_that_overflow_anything_are_only_numbers() -> None:
    huge = (2**40, 2**40)
    with pytest.raises(InvalidArgumentError, match="Expected 4835703278458516698824704, got 16"):
        check(tensor("INPUT0", huge, 16), tensor("INPUT1", huge, 16), against=spec(0, (-1, -1)))


@pytest.mark.parametrize(
    ("packed", "complaint"),
    [
        (b"\x05\x00\x00\x00abc", "incomplete string data for inference input 'INPUT0', expecting string of length 5"),
        (
            b"\x00\x00",
            "incomplete string length indicator for inference input 'INPUT0' for model 'simple', expecting 4",
        ),
        (b"", "expected 1 string elements for inference input 'INPUT0' for model 'simple', got 0"),
        (b"\0\0\0\0" * 2, "unexpected number of string elements 2 for inference input 'INPUT0' for model 'simple'"),
    ],
)
def test_lying_strings_are_refused_at_the_door(packed: bytes, complaint: str) -> None:
    against = spec(8, (1,), DataType.BYTES)
    good = Tensor("INPUT1", DataType.BYTES, (1, 1), buffer=b"\x01\x00\x00\x00a")
    bad = Tensor("INPUT0", DataType.BYTES, (1, 1), buffer=packed)
    with pytest.raises(InvalidArgumentError) as raised:
        check(bad, good, against=against)
    assert str(raised.value).startswith(NO_ID + complaint)


def test_variable_shapes_make_a_batch_key() -> None:
    against = spec(8, (-1,))
    keys = {
        length: check(tensor("INPUT0", (2, length)), tensor("INPUT1", (2, length)), against=against).batch_key
        for length in (3, 4)
    }
    assert keys[3] != keys[4]
    assert keys[3] == check(tensor("INPUT0", (1, 3)), tensor("INPUT1", (1, 3)), against=against).batch_key


dims = st.lists(st.integers(-2, 20), max_size=3).map(tuple)


@given(
    shapes=st.tuples(dims, dims),
    sizes=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    names=st.tuples(st.sampled_from(["INPUT0", "X"]), st.sampled_from(["INPUT1", "Y"])),
    batch=st.sampled_from([0, 8]),
    wanted=st.sampled_from([(16,), (-1,), (-1, 2), ()]),
)
def test_every_request_either_fits_or_says_why(
    shapes: Any, sizes: Any, names: Any, batch: int, wanted: tuple[int, ...]
) -> None:
    tensors = [
        Tensor(name, DataType.INT32, shape, buffer=bytes(size))
        for name, shape, size in zip(names, shapes, sizes, strict=True)
    ]
    try:
        request = check(*tensors, against=spec(batch, wanted))
    except InvalidArgumentError:
        return
    for one in request.inputs.values():
        assert one.array().shape == one.shape


@pytest.mark.parametrize(("names", "count"), [(("INPUT1",), 1), ((), 0)])
def test_a_required_input_is_not_made_up_for_by_an_optional_one(names: tuple[str, ...], count: int) -> None:
    inputs = [
        ModelInput(name=f"INPUT{number}", data_type=DataType.INT32, dims=(16,), optional=number == 1)
        for number in (0, 1)
    ]
    against = request_spec(ModelConfig(name="simple", max_batch_size=8, input=tuple(inputs)))
    with pytest.raises(InvalidArgumentError) as caught:
        check(*(tensor(name) for name in names), against=against)
    assert f"expected number of inputs between 1 and 2 but got {count} inputs for model 'simple'" in str(caught.value)
    assert "missing required input(s) ['INPUT0']" in str(caught.value)


@pytest.mark.parametrize("max_batch_size", [0, 8])
@pytest.mark.parametrize("item", [(0, 1 << 41), (1 << 62, 0), ((1 << 63) - 1, 0), (10**30, 0)])
def test_a_tensor_without_elements_cannot_be_of_any_size(item: tuple[int, int], max_batch_size: int) -> None:
    shape = (1, *item) if max_batch_size else item
    against = spec(max_batch_size, dims=(-1, -1))
    with pytest.raises(InvalidArgumentError, match="too large for a tensor without elements"):
        check(tensor("INPUT0", shape, 0), tensor("INPUT1", shape, 0), against=against)
    fine = (*shape[:-2], 0, 1 << 40)
    check(tensor("INPUT0", fine, 0), tensor("INPUT1", fine, 0), against=against)
    assert tensor("INPUT0", fine, 0).array().shape == fine
