"""Generate requests decoded, and responses to them encoded: whatever comes in."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInput
from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.protocol.generate import decode_generate
from atoll.protocol.generate_answer import encode_document, encode_error, event
from atoll.request import InferenceResponse
from atoll.tensor import DataType, Tensor

SCALARS = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False) | st.text()
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
NAMES = st.sampled_from(
    ["NUMBERS", "TEXT", "parameters", "id", "stream", "sequence_id", "sequence_start", "sequence_end", "priority"]
) | st.text(max_size=5)


def model(size: int = 0, **inputs: tuple[DataType, tuple[int, ...]]) -> ModelConfig:
    specs = tuple(ModelInput(name=name, data_type=kind, dims=dims) for name, (kind, dims) in inputs.items())
    return ModelConfig(name="model", backend="fake", max_batch_size=size, input=specs)


MODEL = model(NUMBERS=(DataType.INT32, (-1,)), TEXT=(DataType.BYTES, (1,)))


def decode(document: object, config: ModelConfig = MODEL):
    return decode_generate(memoryview(json.dumps(document).encode()), config)


@given(st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_nothing_but_its_errors_comes_of_any_body(body):
    try:
        decode_generate(memoryview(body), MODEL)
    except AtollError as error:
        assert isinstance(error, InternalError | InvalidArgumentError)


@given(st.dictionaries(NAMES, ANYTHING), st.dictionaries(NAMES, ANYTHING))
def test_what_is_taken_is_in_one_place(members, nested):
    try:
        decoded = decode({**members, "parameters": nested})
    except AtollError:
        return
    names = {*members} - {"parameters"} | {*nested}
    assert {*decoded.inputs, *decoded.parameters} == names
    assert not {*decoded.inputs} & {*decoded.parameters}
    for name, value in decoded.parameters.items():
        given = nested.get(name, ...) if name in nested else members[name]
        assert value == given or math.isclose(value, given)
        assert isinstance(value, str | bool | int | float)


@given(
    st.lists(st.sampled_from([-1, 1, 2, 3, 4]), min_size=1, max_size=4),
    st.integers(0, 60),
    st.sampled_from([0, 8]),
)
def test_elements_fill_the_fixed_dimensions_then_the_innermost_variable_one(dims, count, size):
    config = model(size, NUMBERS=(DataType.INT32, tuple(dims)))
    wanted = [-1, *dims] if size else dims
    fixed = math.prod(dim for dim in wanted if dim > 0)
    fits = count % fixed == 0 and (-1 in wanted or count == fixed)
    if not fits:
        with pytest.raises(InvalidArgumentError, match="can not convert input 'NUMBERS' to tensor with proper shape"):
            decode({"NUMBERS": list(range(count))}, config)
        return
    tensor = decode({"NUMBERS": list(range(count))}, config).inputs["NUMBERS"]
    assert math.prod(tensor.shape) == count
    assert all(dim in (-1, found) for dim, found in zip(wanted, tensor.shape, strict=True))
    variable = [found for dim, found in zip(wanted, tensor.shape, strict=True) if dim < 0]
    assert variable[:-1] == [1] * (len(variable) - 1)
    assert tensor.array().ravel().tolist() == list(range(count))


def test_a_dimension_of_none_fits_nothing():
    for value in (1, [], [1]):
        with pytest.raises(InvalidArgumentError, match="proper shape"):
            decode({"NUMBERS": value}, model(NUMBERS=(DataType.INT32, (0,))))


def test_an_id_is_a_parameter_too_unless_it_is_an_input():
    decoded = decode({"id": "7", "parameters": {"x": 1}})
    assert (decoded.id, decoded.parameters) == ("7", {"id": "7", "x": 1})
    decoded = decode({"id": "7"}, model(id=(DataType.BYTES, (1,))))
    assert (decoded.id, decoded.parameters, decoded.inputs["id"].array()[0]) == ("7", {}, b"7")


def test_the_later_parameter_counts():
    assert decode({"x": 1, "parameters": {"x": 2}}).parameters == {"x": 2}
    assert decode({"parameters": {"x": 2}, "x": 1}).parameters == {"x": 1}


def test_deeply_nested_values_are_refused():
    for depth in (100, 100_000):
        with pytest.raises(AtollError):
            decode_generate(memoryview(b'{"x":' + b"[" * depth + b"]" * depth + b"}"), MODEL)


ARRAYS = st.sampled_from(
    [
        (DataType.BOOL, np.array([True, False])),
        (DataType.INT8, np.array([[-1]], np.int8)),
        (DataType.UINT64, np.array([2**64 - 1, 0], np.uint64)),
        (DataType.FP32, np.array([0.5, -2], np.float32)),
        (DataType.FP64, np.empty((0, 2))),
        (DataType.BYTES, np.array([[b"a"], [b"\n\r"]], np.object_)),
        (DataType.BYTES, np.array([b"a\n\nb"], np.object_)),
    ]
)


@given(
    st.dictionaries(st.text(max_size=8), ARRAYS),
    st.dictionaries(st.text(max_size=8), st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()),
    st.text(max_size=8),
)
def test_a_response_is_one_line_of_json_with_its_names_in_order(outputs, parameters, request_id):
    tensors = [Tensor(name, kind, array.shape, array=array) for name, (kind, array) in outputs.items()]
    document = encode_document(InferenceResponse("m", "1", request_id, tensors, parameters))
    pairs = json.loads(document, object_pairs_hook=list)
    names = [name for name, _ in pairs]
    assert names == sorted({*outputs, *parameters, "model_name", "model_version", *(["id"] if request_id else [])})
    found = dict(pairs)
    for name, (kind, array) in outputs.items():
        if name in parameters or name in ("model_name", "model_version", "id"):
            continue
        flat = [one.decode() if kind is DataType.BYTES else one for one in array.ravel().tolist()]
        assert found[name] == (flat[0] if len(flat) == 1 else flat)
    assert (found["model_name"], found["model_version"]) == ("m", "1")
    text = event(document)
    assert text == b"data: " + document + b"\n\n"
    assert b"\n" not in document
    assert b"\r" not in document


@given(st.text())
def test_an_error_is_one_line_of_json(text):
    document = encode_error(text)
    assert json.loads(document) == {"error": text}
    assert b"\n" not in document


def test_what_json_cannot_carry_is_an_error():
    half = Tensor("OUT", DataType.FP16, (1,), array=np.array([1], np.float16))
    with pytest.raises(InvalidArgumentError, match="sending FP16 data via JSON is not supported"):
        encode_document(InferenceResponse("m", "1", "", [half]))
