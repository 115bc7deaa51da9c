"""The body of HTTP inference requests: what is read, and in which words the rest is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInput
from atoll.errors import AtollError, Code
from atoll.protocol.http_answer import ResponseEncoder, total_length
from atoll.protocol.http_codec import OutputForm, decode_infer, decode_raw
from atoll.protocol.http_memory import InferDecoder
from atoll.protocol.json_tensors import json_from_array
from atoll.request import InferenceResponse
from atoll.tensor import BY_PROTOCOL_NAME, DataType, Tensor, element_count

TYPES = list(BY_PROTOCOL_NAME.values())
JSON_TYPES = [one for one in TYPES if one not in (DataType.FP16, DataType.BF16)]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def body_of(document: object, *tensors: bytes) -> tuple[memoryview, int]:
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    return memoryview(text + b"".join(tensors)), len(text)


def decode(document: object, *tensors: bytes):
    body, length = body_of(document, *tensors)
    return decode_infer(body, length, "m")


def one_input(**changes):
    entry = {"name": "IN", "datatype": "INT32", "shape": [1, 2], "data": [1, 2], **changes}
    return {"inputs": [{key: value for key, value in entry.items() if value is not ...}]}


@st.composite
def tensors(draw, types=TYPES):
    datatype = draw(st.sampled_from(types))
    shape = tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)))
    count = element_count(shape)
    if datatype is DataType.BYTES:
        array = np.empty(count, np.object_)
        array[:] = draw(st.lists(st.binary(max_size=6), min_size=count, max_size=count))
    elif datatype is DataType.BOOL:
        array = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_)
    else:
        size = count * datatype.size
        array = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), datatype.dtype)
    return Tensor(draw(st.text(min_size=1, max_size=4)), datatype, shape, array=array.reshape(shape))


@given(st.lists(tensors(), max_size=3, unique_by=lambda one: one.name), st.data())
def test_what_is_encoded_is_decoded_again(outputs, data):
    binary = {
        one.name: one.datatype not in JSON_TYPES or data.draw(st.booleans(), label=f"{one.name!r} binary")
        for one in outputs
    }
    response = InferenceResponse("m", "1", "id", outputs)
    parts, json_length = ResponseEncoder().encode(response, OutputForm(False, binary))
    assert (json_length > 0) is any(binary[one.name] and len(one.packed()) > 0 for one in outputs)
    assert total_length(parts) == len(b"".join(parts))
    text = bytes(parts[0])
    document = json.loads(text.decode("utf-8", "surrogateescape"))
    assert [document[key] for key in ("id", "model_name", "model_version")] == ["id", "m", "1"]
    # An answer's outputs have the form of a request's inputs, but for the escapes that json.dumps would make of bytes.
    request = b'{"inputs":' + text[text.index(b'"outputs":') + len(b'"outputs":') :]
    body = memoryview(b"".join([request, *parts[1:]]))
    decoded = decode_infer(body, len(request), "m")
    for before in outputs:
        after = decoded.inputs[before.name]
        assert (after.datatype, after.shape) == (before.datatype, before.shape)
        assert bytes(after.packed()) == bytes(before.packed()) or np.array_equal(
            after.array(), before.array(), equal_nan=before.datatype.dtype.kind == "f"
        )


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_raise_anything_but_our_errors(data, length):
    try:
        decode_infer(memoryview(data), min(length, len(data)), "m")
    except AtollError as error:
        assert str(error)


@given(JSON_VALUES, st.binary(max_size=8))
def test_no_document_raises_anything_but_our_errors(document, tail):
    for wrapped in (
        document,
        {"inputs": document},
        {"inputs": [document]},
        {"inputs": [], "outputs": [document], "parameters": document},
        one_input(data=document),
        one_input(shape=document),
        one_input(data=..., parameters=document),
        {**one_input(), "id": document},
    ):
        text = json.dumps(wrapped).encode("utf-8", "surrogatepass") + tail
        for length in (len(text), len(text) - len(tail)):
            try:
                decode_infer(memoryview(text), length, "m")
            except AtollError as error:
                assert str(error)


@given(st.lists(st.text("ab1-", max_size=3), min_size=2, max_size=6), st.booleans())
def test_memory_changes_nothing(ids, binary_out):
    remembering = InferDecoder()
    for number, request_id in enumerate(ids):
        document = {"id": request_id} if request_id else {}
        document |= one_input(data=..., parameters={"binary_data_size": 8})
        document |= {"parameters": {"binary_data_output": binary_out, "k": "v", "priority": 3}}
        tensor = np.array([number, -number], np.int32)
        body, length = body_of(document, tensor.tobytes())
        fresh, remembered = decode_infer(body, length, "m"), remembering.decode(body, length, "m")
        for attribute in ("id", "output_names", "parameters", "priority", "timeout_us"):
            assert getattr(fresh, attribute) == getattr(remembered, attribute)
        assert remembered.form.binary_default is binary_out
        assert remembered.inputs["IN"].array().tolist() == [tensor.tolist()]
        if remembered.parameters:
            remembered.parameters["mine"] = True  # the next request must not see it


def test_memory_does_not_hide_a_wrong_length():
    remembering = InferDecoder()
    document = one_input(data=..., parameters={"binary_data_size": 8})
    body, length = body_of(document, b"\0" * 8)
    remembering.decode(body, length, "m")
    for size, text in ((7, "expecting 1 additional bytes"), (9, "unexpected additional input data")):
        body, length = body_of(document, b"\0" * size)
        with pytest.raises(AtollError, match=text):
            remembering.decode(body, length, "m")


def test_memory_is_bounded():
    remembering = InferDecoder()
    for number in range(2000):
        body, length = body_of(one_input(name=f"IN{number}", data=..., parameters={"binary_data_size": 8}), b"\0" * 8)
        remembering.decode(body, length, "m")
    assert len(remembering._plans) <= 512


def test_ids_that_the_memory_must_not_cut_out():
    remembering = InferDecoder()
    entry = json.dumps(one_input(data=..., parameters={"binary_data_size": 8}))[1:-1]
    for text, expected in (
        ('{"id":"a",%s,"id":"b"}', "b"),
        ('{"id":"c",%s,"\\u0069d":"d"}', "d"),
        ('{%s,"id":"e"}', "e"),
        ('{"id":"f",%s,"id":"b"}', "b"),
        ('{%s,"id":"g"}', "g"),
    ):
        for _ in range(2):
            data = (text % entry).encode()
            assert remembering.decode(memoryview(data + b"\0" * 8), len(data), "m").id == expected


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("INT32", [[1], [2]], [1, 2]),
        ("INT32", [[[1], 2]], [1, 2]),
        ("UINT64", [0, 2**64 - 1], [0, 2**64 - 1]),
        ("INT64", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ("FP32", [1, 0.5], [1.0, 0.5]),
        ("BOOL", [True, False], [True, False]),
        ("BYTES", ["é", ""], ["é".encode(), b""]),
        ("FP64", [2**63, 1e300], [float(2**63), 1e300]),
    ],
)
def test_json_data(datatype, data, expected):
    tensor = decode(one_input(datatype=datatype, data=data)).inputs["IN"]
    assert tensor.array().dtype == BY_PROTOCOL_NAME[datatype].dtype
    assert tensor.array().tolist() == [expected]


def test_nan_and_infinity_in_json():
    tensor = decode(one_input(datatype="FP32", shape=[1, 3], data=[float("nan"), float("inf"), float("-inf")])).inputs[
        "IN"
    ]
    assert np.array_equal(tensor.array(), [[np.nan, np.inf, -np.inf]], equal_nan=True)
    parts, _ = ResponseEncoder().encode(InferenceResponse("m", "1", "", [tensor]), OutputForm())
    assert b'"data":[NaN,Infinity,-Infinity]' in parts[0]


def test_bytes_that_are_not_utf8_survive_json():
    text = b'{"inputs":[{"name":"IN","datatype":"BYTES","shape":[1],"data":["a\xff"]}]}'
    tensor = decode_infer(memoryview(text), len(text), "m").inputs["IN"]
    assert tensor.array().tolist() == [b"a\xff"]
    parts, _ = ResponseEncoder().encode(InferenceResponse("m", "1", "", [tensor]), OutputForm())
    assert b'"data":["a\xff"]' in parts[0]


FIELDS = "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters'"


@pytest.mark.parametrize(
    ("document", "code", "text"),
    [
        ([], Code.INTERNAL, "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"),
        ({"inputs": {}}, Code.INTERNAL, "Unable to parse 'inputs': attempt to access JSON non-array as array"),
        ({"inputs": [1]}, Code.INVALID_ARG, FIELDS),
        (one_input(parameters={"binary_data_size": 8}), Code.INVALID_ARG, "But set 'data' 'binary_data_size'"),
        (one_input(data=...), Code.INVALID_ARG, "But no field is set"),
        (one_input(name=...), Code.INTERNAL, "attempt to access non-existing object member 'name'"),
        (one_input(name=1), Code.INTERNAL, "Unable to parse 'name': attempt to access JSON non-string as string"),
        (one_input(datatype="FOO"), Code.INVALID_ARG, "invalid datatype for input IN"),
        (one_input(datatype="FP16"), Code.INVALID_ARG, "receiving FP16 data via JSON is not supported."),
        (one_input(shape=[1, -2]), Code.INTERNAL, "non-unsigned-integer as unsigned-integer"),
        (one_input(shape=[1, True]), Code.INTERNAL, "non-unsigned-integer as unsigned-integer"),
        (one_input(shape=[1, 2.0]), Code.INTERNAL, "non-unsigned-integer as unsigned-integer"),
        (one_input(shape=[2**62, 2**62]), Code.INVALID_ARG, "is too large"),
        (one_input(shape=[0, 2**63]), Code.INVALID_ARG, "is too large"),
        (one_input(shape=[2**31, 16]), Code.INTERNAL, "Shape does not match true shape of 'data' field"),
        (one_input(data=[1]), Code.INTERNAL, "Shape does not match true shape of 'data' field"),
        (one_input(data=[1, True]), Code.INTERNAL, "non-signed-integer as signed-integer"),
        (one_input(data=[1, 1.5]), Code.INTERNAL, "non-signed-integer as signed-integer"),
        (one_input(data=[1, 2**31]), Code.INVALID_ARG, "does not fit INT32, whose range is -2147483648 to 2147483647"),
        (one_input(data={}), Code.INTERNAL, "Unable to parse 'data': attempt to access JSON non-array as array"),
        (one_input(datatype="UINT8", data=[1, -1]), Code.INTERNAL, "non-unsigned-integer as unsigned-integer"),
        (one_input(datatype="BOOL"), Code.INTERNAL, "non-boolean as boolean"),
        (one_input(datatype="FP32", data=[1, "a"]), Code.INTERNAL, "non-number as double"),
        (one_input(datatype="BYTES"), Code.INTERNAL, "Unable to parse JSON bytes array"),
        ({"inputs": one_input()["inputs"] * 2}, Code.INVALID_ARG, "input 'IN' already exists in request"),
        ({**one_input(), "id": 1}, Code.INTERNAL, "Unable to parse 'id'"),
        ({**one_input(), "outputs": 1}, Code.INTERNAL, "Unable to parse 'outputs'"),
        ({**one_input(), "outputs": [{}]}, Code.INTERNAL, "non-existing object member 'name'"),
        ({**one_input(), "parameters": {"triton_x": 1}}, Code.INVALID_ARG, "reserved for Triton usage"),
        ({**one_input(), "parameters": {"x": []}}, Code.INVALID_ARG, "parameter 'x' has invalid type"),
        ({**one_input(), "parameters": {"timeout": -1}}, Code.INTERNAL, "Unable to parse 'timeout'"),
        ({**one_input(), "parameters": 1}, Code.INTERNAL, "attempt to get members for non-object"),
    ],
)
def test_refusals_have_the_real_servers_words(document, code, text):
    with pytest.raises(AtollError) as refused:
        decode(document)
    assert refused.value.code is code
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "The document is empty. at 0"),
        (b"{", "Missing a name for object member. at 1"),
        (b"[1", "Missing a comma or ']' after an array element. at 2"),
        (b'{"a":1 "b":2}', "Missing a comma or '}' after an object member. at 7"),
        (b'{"a":[1,{"b":2} 3]}', "Missing a comma or ']' after an array element. at 16"),
        (b'{"a":"\\x"}', "Invalid escape character in string. at 6"),
        (b'{"a":"\\ud800"}', "The surrogate pair in string is invalid. at 6"),
        (b'{"a":1e999}', "Number too big to be stored in double. at 5"),
        (b"[" * 100_000, "The document is nested too deeply. at 0"),
        (b"{}{}", "The document root must not be followed by other values. at 2"),
        (b"1" * 10_000, "Number too big to be stored in double. at 0"),
    ],
)
def test_json_that_cannot_be_read(text, reason):
    with pytest.raises(AtollError) as refused:
        decode_infer(memoryview(text), len(text), "m")
    assert str(refused.value) == f"failed to parse the request JSON buffer: {reason}"
    assert refused.value.code is Code.INTERNAL


def test_wide_ragged_and_deep_data_takes_no_longer_than_its_size():
    deep: list = [1]
    for _ in range(900):
        deep = [deep]
    tensor = decode(one_input(shape=[1, 100_001], data=[*range(100_000), deep])).inputs["IN"]
    assert tensor.array()[0, -1] == 1


def config(dims, datatype=DataType.FP32, inputs=1):
    spec = ModelInput(name="IN", data_type=datatype, dims=dims)
    return ModelConfig(name="m", max_batch_size=4, input=(spec,) * inputs)


def test_raw_requests():
    decoded = decode_raw(memoryview(b"\0" * 24), config((2, -1)))
    assert decoded.inputs["IN"].shape == (1, 2, 3)
    assert decoded.form.binary_default
    strings = decode_raw(memoryview(b"abc"), config((1,), DataType.BYTES)).inputs["IN"]
    assert strings.array().tolist() == [[b"abc"]]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (config((1,), inputs=2), "Raw request must only have 1 input (found 1) to be deduced but got 2 inputs in 'm'"),
        (config((-1, -1)), "can not be deduced because there are more than one variable-sized dimension"),
        (config((2,), DataType.BYTES), "For BYTE datatype raw input 'IN', the model must have input shape [1]"),
    ],
)
def test_raw_requests_whose_shape_is_not_given(wrong, text):
    with pytest.raises(AtollError) as refused:
        decode_raw(memoryview(b"\0" * 8), wrong)
    assert text in str(refused.value)


def test_a_signalling_nan_is_sent_like_any_other():
    array = np.array([0x7F800001], np.uint32).view(np.float32)
    assert json_from_array(array, DataType.FP32) == b"[NaN]"
