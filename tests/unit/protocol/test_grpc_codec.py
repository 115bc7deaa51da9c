"""ModelInfer's messages, held against tritonclient's own message classes and protobuf's reading of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as triton

from atoll.errors import InternalError, InvalidArgumentError, NotFoundError
from atoll.protocol import grpc_codec
from atoll.protocol.grpc_codec import InferCodec, encode_stream_end, encode_stream_error
from atoll.protocol.grpc_parameters import Parameters, read_parameters
from atoll.protocol.grpc_request import build_request
from atoll.request import InferenceResponse
from atoll.tensor import DataType, Tensor


class Sender:
    def send(self, response, final):
        raise AssertionError("nothing is sent here")


def simple(**fields):
    message = triton.ModelInferRequest(model_name="simple", **fields)
    for name in ("INPUT0", "INPUT1"):
        message.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        message.raw_input_contents.append(np.arange(16, dtype=np.int32).tobytes())
    return message


def decode(message, codec=None):
    codec = codec if codec is not None else InferCodec()
    encoded = message if isinstance(message, bytes) else message.SerializeToString()
    return build_request(codec.parse(encoded), Sender(), None)


def refusal(message, error=InvalidArgumentError):
    with pytest.raises(error) as refused:
        decode(message)
    return str(refused.value)


def test_a_request_with_raw_data():
    message = simple(id="q1", model_version="3")
    message.outputs.add(name="OUTPUT1")
    request, parameters = decode(message)
    assert (request.model_name, request.model_version, request.id) == ("simple", "3", "q1")
    assert request.output_names == ("OUTPUT1",)
    assert request.parameters is None
    assert not parameters.enable_empty_final_response
    assert list(request.inputs) == ["INPUT0", "INPUT1"]
    tensor = request.inputs["INPUT0"]
    assert (tensor.datatype, tensor.shape) == (DataType.INT32, (1, 16))
    assert tensor.array().tolist() == [list(range(16))]


def test_raw_data_is_a_view_of_the_message():
    encoded = simple().SerializeToString()
    buffer = decode(encoded)[0].inputs["INPUT0"].buffer
    assert isinstance(buffer, memoryview)
    assert buffer.obj is encoded


def test_the_usual_form_is_read_by_hand(monkeypatch):
    monkeypatch.setattr(grpc_codec, "_parse_any", lambda message: pytest.fail("protobuf read it"))
    message = simple(id="x" * 300)
    message.raw_input_contents[0] = b"x" * 70_000
    message.parameters["a"].int64_param = 1
    assert InferCodec().parse(message.SerializeToString()).id == "x" * 300


def test_descriptions_already_seen_give_the_same_request():
    codec = InferCodec()
    first, second = (decode(simple(), codec)[0] for _ in range(2))
    assert [repr(one) for one in first.inputs.values()] == [repr(one) for one in second.inputs.values()]


def test_memories_do_not_grow_without_end():
    codec = InferCodec()
    for number in range(3000):
        message = triton.ModelInferRequest(model_name="m")
        message.inputs.add(name=f"I{number}", datatype="FP32", shape=[1])
        message.outputs.add(name=f"O{number}")
        codec.parse(message.SerializeToString())
        output = Tensor(f"O{number}", DataType.BOOL, (1,), array=np.array([True]))
        codec.encode(InferenceResponse(f"m{number}", "1", outputs=[output]))
    for memory in (codec._inputs, codec._outputs, codec._models, codec._descriptions):
        assert 0 < len(memory) <= 1024


def test_a_long_description_is_not_remembered():
    codec = InferCodec()
    message = triton.ModelInferRequest(model_name="m")
    message.inputs.add(name="I" * 1000, datatype="FP32", shape=[1])
    message.outputs.add(name="O" * 1000)
    codec.parse(message.SerializeToString())
    assert not codec._inputs
    assert not codec._outputs


TYPED = [
    ("bool_contents", [True, False], "BOOL", np.bool_),
    ("int_contents", [1, -1, 127], "INT8", np.int8),
    ("int_contents", [1, -1, 32767], "INT16", np.int16),
    ("int_contents", [1, -(2**31)], "INT32", np.int32),
    ("int64_contents", [1, -(2**63)], "INT64", np.int64),
    ("uint_contents", [1, 255], "UINT8", np.uint8),
    ("uint_contents", [1, 65535], "UINT16", np.uint16),
    ("uint_contents", [1, 2**32 - 1], "UINT32", np.uint32),
    ("uint64_contents", [1, 2**64 - 1], "UINT64", np.uint64),
    ("fp32_contents", [1.5, -0.25], "FP32", np.float32),
    ("fp64_contents", [1.5, 1e300], "FP64", np.float64),
    ("bytes_contents", [b"a", b"", b"\xff"], "BYTES", np.object_),
]


def typed(field, values, datatype, shape=None):
    message = triton.ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name="I", datatype=datatype, shape=[1, len(values)] if shape is None else shape)
    getattr(tensor.contents, field).extend(values)
    return message


@pytest.mark.parametrize(("field", "values", "datatype", "dtype"), TYPED)
def test_typed_contents(field, values, datatype, dtype):
    array = decode(typed(field, values, datatype))[0].inputs["I"].array()
    assert array.dtype == dtype
    assert array.tolist() == [values]


def test_typed_contents_beside_unknown_fields():
    message = typed("fp64_contents", [1.5, -2.5], "FP64")
    contents = message.inputs[0].contents
    contents.MergeFromString(b"\x98\x06\x01\xa2\x06\x02hi")
    assert decode(message)[0].inputs["I"].array().tolist() == [[1.5, -2.5]]


@pytest.mark.parametrize("unknown", [b"", b"\x98\x06\x01"])  # read by hand, and by protobuf
@pytest.mark.parametrize("field", [b"\x2a\x00", b"\x32\x00", b"\x3a\x00"])
def test_a_message_of_endless_fields_is_refused(unknown, field):
    assert InferCodec().parse(unknown + field * 16_384)
    with pytest.raises(InvalidArgumentError, match="more than 16384"):
        InferCodec().parse(unknown + field * 16_385)


@pytest.mark.parametrize(("field", "datatype"), [("int_contents", "INT8"), ("uint_contents", "UINT8")])
def test_typed_values_too_large_are_refused(field, datatype):
    with pytest.raises(InvalidArgumentError, match=f"data of input 'I' does not fit {datatype}, whose range is"):
        decode(typed(field, [300], datatype))


@pytest.mark.parametrize("shape", [[1, 3], [1, 1], [-1, 2], [0], [2**62, 2**62], [0, -1]])
def test_typed_contents_of_another_count_stay_packed_for_the_engine(shape):
    tensor = decode(typed("fp32_contents", [1, 2], "FP32", shape))[0].inputs["I"]
    assert tensor.shape == tuple(shape)
    assert bytes(tensor.buffer) == np.array([1, 2], np.float32).tobytes()


def test_a_shape_of_astronomical_product_costs_nothing():
    tensor = decode(typed("fp32_contents", [1, 2], "FP32", [2**62] * 200_000))[0].inputs["I"]
    assert len(tensor.shape) == 200_000


def test_empty_contents_are_a_tensor_without_elements():
    message = triton.ModelInferRequest(model_name="m")
    message.inputs.add(name="I", datatype="FP32", shape=[1, 0]).contents.SetInParent()
    assert decode(message)[0].inputs["I"].array().shape == (1, 0)


@pytest.mark.parametrize(
    ("field", "values", "datatype", "called", "expected"),
    [
        ("int64_contents", [1], "INT32", "INT64", "INT32"),
        ("fp32_contents", [1], "FP16", "FP32", "FP16"),
        ("bytes_contents", [b"1"], "FP32", "BYTES", "FP32"),
        ("uint_contents", [1], "INT8", "UINT32", "INT8"),
        ("fp32_contents", [1], "FOO", "FP32", "<invalid>"),
        ("fp32_contents", [1], "", "FP32", "<invalid>"),
    ],
)
def test_typed_contents_of_the_wrong_kind(field, values, datatype, called, expected):
    assert refusal(typed(field, values, datatype)) == (
        "unexpected explicit tensor data for input tensor 'I' for model 'm' "
        f"of type '{called}', expected datatype '{expected}'"
    )


def test_typed_contents_of_two_kinds():
    message = typed("int_contents", [1], "INT32")
    message.inputs[0].contents.int64_contents.append(1)
    assert refusal(message) == (
        "unexpected explicit tensor data for input tensor 'I' for model 'm', binary data was already supplied."
    )


def test_an_unknown_datatype_is_the_engines_to_refuse():
    message = simple()
    message.inputs[0].datatype = "int32"
    assert decode(message)[0].inputs["INPUT0"].datatype is DataType.INVALID


def test_missing_data():
    message = simple()
    del message.raw_input_contents[1]
    text = "unable to find data for input tensor 'INPUT{}' for model 'simple' in request."
    assert refusal(message) == text.format(1)
    del message.raw_input_contents[0]
    assert refusal(message) == text.format(0)


def test_more_raw_data_than_inputs_is_let_pass():
    message = simple()
    message.raw_input_contents.append(b"x")
    assert len(decode(message)[0].inputs) == 2


def test_raw_and_typed_data_together():
    message = simple()
    message.inputs[1].contents.int_contents.extend(range(16))
    assert refusal(message) == (
        "contents field must not be specified when using raw_input_contents for 'INPUT1' for model 'simple'"
    )


@pytest.mark.parametrize(("id", "shown"), [("", "<id_unknown>"), ("q", "q")])
def test_an_input_twice(id, shown):
    message = simple(id=id)
    message.inputs[1].name = "INPUT0"
    assert refusal(message) == f"[request id: {shown}] input 'INPUT0' already exists in request"


def test_an_output_twice_counts_once():
    message = simple()
    for name in ("B", "A", "B"):
        message.outputs.add(name=name)
    message.outputs[2].parameters["anything"].bool_param = True
    assert decode(message)[0].output_names == ("B", "A")


@pytest.mark.parametrize("which", ["inputs", "outputs"])
def test_shared_memory(which):
    message = simple()
    tensor = message.outputs.add(name="T") if which == "outputs" else message.inputs[0]
    tensor.parameters["shared_memory_region"].string_param = "r"
    assert refusal(message) == (
        "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter "
        f"for tensor '{tensor.name}'"
    )
    tensor.parameters["shared_memory_byte_size"].int64_param = 64
    assert refusal(message, NotFoundError).startswith("Unable to find shared memory region: 'r'")


def test_input_parameters_that_nobody_knows_are_ignored():
    message = simple()
    message.inputs[0].parameters["mine"].string_param = "x"
    assert decode(message)[0].inputs["INPUT0"].array().shape == (1, 16)


def asking_for_classes(**counts):
    message = simple()
    for name, count in counts.items():
        message.outputs.add(name=name).parameters["classification"].int64_param = count
    return message


def test_outputs_may_be_asked_for_as_classes():
    message = asking_for_classes(A=3, B=2**40)
    message.outputs.add(name="C")
    request, parameters = decode(message)
    assert request.output_names == ("A", "B", "C")
    assert parameters.classes == {"A": 3, "B": 2**40}
    assert decode(simple())[1].classes is None


def test_of_an_output_named_twice_the_first_count_is_taken():
    message = asking_for_classes(A=1)
    message.outputs.insert(0, triton.ModelInferRequest.InferRequestedOutputTensor(name="A"))
    message.outputs.add(name="A").parameters["classification"].int64_param = 2
    request, parameters = decode(message)
    assert (request.output_names, parameters.classes) == (("A",), {"A": 1})


def test_classes_of_one_request_are_not_those_of_the_next():
    codec = InferCodec()
    asking = asking_for_classes(A=3)
    asking.parameters["priority"].int64_param = 2
    plain = simple()
    plain.parameters["priority"].int64_param = 2
    for _ in range(2):
        assert [(p.priority, p.classes) for _, p in (decode(one, codec) for one in (asking, plain))] == [
            (2, {"A": 3}),
            (2, None),
        ]


@pytest.mark.parametrize("count", [0, -1, -(2**63)])
def test_a_count_of_classes_must_be_above_0(count):
    assert refusal(asking_for_classes(A=count)) == "invalid value for 'classification' parameter, expected >= 0"


@pytest.mark.parametrize(
    "parameter", [{"string_param": "3"}, {"bool_param": True}, {"double_param": 3.0}, {"uint64_param": 3}, {}]
)
def test_a_count_of_classes_of_another_kind(parameter):
    message = simple()
    message.outputs.add(name="A").parameters["classification"].CopyFrom(triton.InferParameter(**parameter))
    assert refusal(message) == "invalid value type for 'classification' parameter, expected int64_param"


def parameters(**values):
    message = simple()
    for key, (kind, value) in values.items():
        if kind is None:
            message.parameters[key].SetInParent()
        else:
            setattr(message.parameters[key], kind, value)
    return message


def test_parameters():
    request, own = decode(
        parameters(
            a=("string_param", "s"),
            b=("int64_param", -5),
            c=("bool_param", False),
            d=("double_param", 1.5),
            priority=("uint64_param", 2),
            timeout=("int64_param", 5_000_000),
            sequence_id=("int64_param", -7),
            sequence_start=("bool_param", True),
            triton_enable_empty_final_response=("bool_param", True),
        )
    )
    assert request.parameters == {
        "a": "s",
        "b": -5,
        "c": False,
        "d": 1.5,
        "sequence_id": 2**64 - 7,
        "sequence_start": True,
    }
    assert (request.priority, request.timeout_us) == (2, 5_000_000)
    assert own.enable_empty_final_response


def test_a_sequence_id_may_be_a_string():
    assert decode(parameters(sequence_id=("string_param", "abc")))[0].parameters == {"sequence_id": "abc"}


_PLAIN = "invalid value type for '{}' parameter, expected {}."


@pytest.mark.parametrize(
    ("key", "kind", "value", "text"),
    [
        ("timeout", "string_param", "5", _PLAIN.format("timeout", "int64_param")),
        ("timeout", "uint64_param", 5, _PLAIN.format("timeout", "int64_param")),
        ("priority", "string_param", "2", _PLAIN.format("priority", "int64_param or uint64_param")),
        ("priority", "int64_param", -2, "invalid value for 'priority', expected value >= 0."),
        ("sequence_id", "bool_param", True, _PLAIN.format("sequence_id", "int64_param or string_param")),
        ("sequence_id", None, None, _PLAIN.format("sequence_id", "int64_param or string_param")),
        ("sequence_start", "int64_param", 1, _PLAIN.format("sequence_start", "bool_param")),
        ("sequence_end", "int64_param", 1, _PLAIN.format("sequence_end", "bool_param")),
        (
            "triton_enable_empty_final_response",
            "string_param",
            "1",
            _PLAIN.format("triton_enable_empty_final_response", "bool_param"),
        ),
        ("mine", "uint64_param", 1, _PLAIN.format("mine", "int64_param, bool_param, or string_param")),
        ("mine", None, None, _PLAIN.format("mine", "int64_param, bool_param, or string_param")),
        (
            "triton_mine",
            "bool_param",
            True,
            "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys "
            "starting with 'triton_' are allowed: triton_enable_empty_final_response",
        ),
    ],
)
def test_parameters_of_the_wrong_kind(key, kind, value, text):
    assert refusal(parameters(**{key: (kind, value)})) == text


@pytest.mark.parametrize(
    "message", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a", b"\x2a\x05\x0a", b"\x3a\xff\xff\xff\x7f"]
)
def test_bytes_that_are_no_message(message):
    assert refusal(message, InternalError) == "Unable to parse request"


def joined(message):
    return message if isinstance(message, bytes) else b"".join(message)


def test_a_response():
    outputs = [
        Tensor("A", DataType.INT32, (1, 2), array=np.array([[1, 2]], np.int32)),
        Tensor("B", DataType.BYTES, (2,), array=np.array([b"x", b""], np.object_)),
        Tensor("C", DataType.FP16, (0,), array=np.zeros(0, np.float16)),
        Tensor("D", DataType.FP32, (), array=np.float32(1).reshape(())),
        Tensor("E", DataType.INT8, (2,), array=np.arange(4, dtype=np.int8)[::2]),
    ]
    response = InferenceResponse("simple", "1", "q", outputs, {"s": "t", "i": -1, "u": 2**64 - 1, "b": True, "d": 0.5})
    got = triton.ModelInferResponse.FromString(joined(InferCodec().encode(response)))
    assert (got.model_name, got.model_version, got.id) == ("simple", "1", "q")
    assert [(one.name, one.datatype, list(one.shape)) for one in got.outputs] == [
        ("A", "INT32", [1, 2]),
        ("B", "BYTES", [2]),
        ("C", "FP16", [0]),
        ("D", "FP32", []),
        ("E", "INT8", [2]),
    ]
    assert list(got.raw_output_contents) == [
        np.array([1, 2], np.int32).tobytes(),
        b"\1\0\0\0x\0\0\0\0",
        b"",
        np.float32(1).tobytes(),
        b"\0\2",
    ]
    assert got.parameters["s"].string_param == "t"
    assert got.parameters["i"].int64_param == -1
    assert got.parameters["u"].uint64_param == 2**64 - 1
    assert got.parameters["b"].bool_param
    assert got.parameters["d"].double_param == 0.5


def test_a_large_output_is_a_view_of_its_array():
    array = np.zeros((3, 224, 224), np.float32)
    outputs = [Tensor(name, DataType.FP32, array.shape, array=array) for name in "AB"]
    message = InferCodec().encode(InferenceResponse("m", "1", "", outputs))
    assert isinstance(message, list)
    assert len(message) == 4
    large = [one for one in message if len(one) == array.nbytes]
    assert [np.shares_memory(np.frombuffer(one, np.float32), array) for one in large] == [True, True]
    got = triton.ModelInferResponse.FromString(b"".join(message))
    assert [len(one) for one in got.raw_output_contents] == [array.nbytes] * 2


@pytest.mark.parametrize("elements", [1, 100_000])
@pytest.mark.parametrize("final", [True, False])
def test_a_response_in_a_stream(elements, final):
    array = np.arange(elements, dtype=np.float64)
    response = InferenceResponse("m", "1", "q", [Tensor("A", DataType.FP64, array.shape, array=array)])
    got = triton.ModelStreamInferResponse.FromString(joined(InferCodec().encode_in_stream(response, final)))
    assert not got.error_message
    assert got.infer_response.id == "q"
    assert got.infer_response.parameters["triton_final_response"].bool_param is final
    assert got.infer_response.raw_output_contents[0] == array.tobytes()


def test_errors_in_a_stream():
    got = triton.ModelStreamInferResponse.FromString(encode_stream_error("no \udcff such", "q"))
    assert got == triton.ModelStreamInferResponse(
        error_message="no ? such", infer_response=triton.ModelInferResponse(id="q")
    )
    failed = triton.ModelStreamInferResponse.FromString(encode_stream_end("m", "q", True, "told to fail"))
    assert failed.error_message == "told to fail"
    assert (failed.infer_response.model_name, failed.infer_response.model_version) == ("m", "")
    assert failed.infer_response.parameters["triton_final_response"].bool_param
    ended = triton.ModelStreamInferResponse.FromString(encode_stream_end("m", "q", True))
    assert not ended.error_message
    assert ended.infer_response.id == "q"


# ---- protobuf and the hand-written reader agree

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def parameter(draw):
    made = triton.InferParameter()
    kind, values = draw(
        st.sampled_from(
            [
                ("bool_param", st.booleans()),
                ("int64_param", _INT64),
                ("string_param", _TEXT),
                ("double_param", st.floats(allow_nan=False)),
                ("uint64_param", st.integers(0, 2**64 - 1)),
                (None, st.none()),
            ]
        )
    )
    if kind is not None:
        setattr(made, kind, draw(values))
    return made


_PARAMETERS = st.dictionaries(_TEXT, parameter(), max_size=3)
_CONTENTS = st.builds(
    triton.InferTensorContents,
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    fp32_contents=st.lists(st.floats(width=32, allow_nan=False), max_size=4),
    bytes_contents=st.lists(st.binary(max_size=5), max_size=3),
)
_INPUT = st.builds(
    triton.ModelInferRequest.InferInputTensor,
    name=_TEXT,
    datatype=st.sampled_from(["INT32", "FP32", "BYTES", "", "x"]),
    shape=st.lists(_INT64, max_size=4),
    parameters=_PARAMETERS,
    contents=st.none() | _CONTENTS,
)
_OUTPUT = st.builds(triton.ModelInferRequest.InferRequestedOutputTensor, name=_TEXT, parameters=_PARAMETERS)
_MESSAGE = st.builds(
    triton.ModelInferRequest,
    model_name=_TEXT,
    model_version=_TEXT,
    id=_TEXT,
    parameters=_PARAMETERS,
    inputs=st.lists(_INPUT, max_size=3),
    outputs=st.lists(_OUTPUT, max_size=3),
    raw_input_contents=st.lists(st.binary(max_size=300), max_size=3),
).map(lambda message: message.SerializeToString())
_UNKNOWN_FIELDS = st.sampled_from([b"", b"\x98\x06\x01", b"\xa2\x06\x02hi", b"\x43\x44", b"\x08\x05", b"\x3d\0\0\0\0"])
# Concatenated messages are one message to protobuf: later scalars win, repeated fields and maps are joined.
_WIRE = st.lists(_MESSAGE | _UNKNOWN_FIELDS, min_size=1, max_size=4).map(b"".join)


def plain(parsed):
    """What was read, in a form that can be compared."""

    def entry(one):
        return one if isinstance(one, tuple | str) else one.SerializeToString(deterministic=True)

    found = parsed.parameters
    if found is not None and not isinstance(found, Parameters):
        try:
            found = read_parameters(found)
        except InvalidArgumentError as error:
            found = str(error)
    return (
        parsed.model_name,
        parsed.model_version,
        parsed.id,
        found,
        [entry(one) for one in parsed.inputs],
        [entry(one) for one in parsed.outputs],
        [bytes(one) for one in parsed.raw],
    )


def read(reader, message):
    try:
        return plain(reader(message))
    except InternalError as error:
        return str(error)
    except grpc_codec.DecodeError:
        return "Unable to parse request"


_CODEC = InferCodec()  # one for all examples, so that remembered descriptions take part


@given(_WIRE)
def test_both_readers_agree_on_messages(message):
    assert read(_CODEC.parse, message) == read(grpc_codec._parse_any, message)


@given(_MESSAGE, _MESSAGE, st.binary(max_size=40), st.data())
def test_a_message_is_not_mistaken_for_one_that_was_remembered(first, second, data, draw):
    for message in (first, second, first + b"\x3a" + bytes([len(data)]) + data, second + first):
        assert read(_CODEC.parse, message) == read(grpc_codec._parse_any, message)
        other = bytearray(message)
        for position in draw.draw(st.lists(st.integers(0, max(len(message) - 1, 0)), max_size=3)):
            if other:
                other[position] ^= draw.draw(st.sampled_from([1, 2, 8, 128]))
        assert read(_CODEC.parse, bytes(other)) == read(grpc_codec._parse_any, bytes(other))


@given(_WIRE, st.data())
def test_both_readers_agree_on_damaged_messages(message, data):
    damaged = bytearray(message)
    for _ in range(data.draw(st.integers(1, 3))):
        if not damaged:
            break
        position = data.draw(st.integers(0, len(damaged) - 1))
        if data.draw(st.booleans()):
            damaged[position] = data.draw(st.integers(0, 255))
        else:
            del damaged[position:]
    damaged = bytes(damaged)
    assert read(_CODEC.parse, damaged) == read(grpc_codec._parse_any, damaged)


@given(st.binary(max_size=60))
def test_both_readers_agree_on_any_bytes(message):
    assert read(_CODEC.parse, message) == read(grpc_codec._parse_any, message)


@given(
    st.lists(
        st.tuples(_TEXT, st.sampled_from(["INT32", "FP64", "BOOL"]), st.lists(st.integers(0, 60), max_size=3)),
        max_size=3,
    ),
    _TEXT,
    st.booleans(),
)
def test_protobuf_reads_what_is_encoded(outputs, id, in_stream):
    tensors = [
        Tensor(name, DataType[datatype], tuple(shape), array=np.ones(shape, DataType[datatype].dtype))
        for name, datatype, shape in outputs
    ]
    response = InferenceResponse("m", "1", id, tensors)
    if in_stream:
        message = triton.ModelStreamInferResponse.FromString(joined(_CODEC.encode_in_stream(response, True)))
        got = message.infer_response
    else:
        got = triton.ModelInferResponse.FromString(joined(_CODEC.encode(response)))
    assert got.id == id
    assert [(one.name, one.datatype, list(one.shape)) for one in got.outputs] == outputs
    assert list(got.raw_output_contents) == [one.array().tobytes() for one in tensors]


def test_remembered_parameters_are_each_requests_own():
    message = simple()
    message.parameters["sequence_id"].int64_param = 7
    message.parameters["mine"].string_param = "x"
    codec, encoded = InferCodec(), message.SerializeToString()
    first, second = (build_request(codec.parse(encoded), Sender(), None)[0] for _ in range(2))
    assert first.parameters == second.parameters == {"sequence_id": 7, "mine": "x"}
    first.parameters["sequence_id"] = 8
    assert build_request(codec.parse(encoded), Sender(), None)[0].parameters == {"sequence_id": 7, "mine": "x"}
