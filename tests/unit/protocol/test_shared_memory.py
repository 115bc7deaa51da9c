"""What requests say of shared memory, in both protocols: read, remembered, and answered."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as triton

from atoll.errors import AtollError, InvalidArgumentError, NotFoundError
from atoll.protocol import grpc_codec
from atoll.protocol.grpc_codec import InferCodec
from atoll.protocol.grpc_request import build_request
from atoll.protocol.http_answer import ResponseEncoder
from atoll.protocol.http_codec import OutputForm, decode_infer
from atoll.protocol.http_memory import InferDecoder
from atoll.protocol.shared_memory import Place, PlacedResponse, output_place_from_json, place_from_json
from atoll.request import InferenceResponse
from atoll.tensor import DataType, Tensor


class Region:
    """A region of the tests: 64 bytes, each with the region's number."""

    byte_size = 64

    def __init__(self, number: int):
        self.data = bytes([number]) * 64

    def read(self, offset: int, byte_size: int) -> bytes:
        return self.data[offset : offset + byte_size]

    def write(self, offset: int, tensor: Tensor, byte_size: int) -> int:
        raise AssertionError("reading a request writes nothing")

    def check(self) -> None:
        pass


class Regions:
    caching = False

    def __init__(self, **numbers: int):
        self.regions = {name: Region(number) for name, number in numbers.items()}

    def region(self, name: str) -> Region:
        if name not in self.regions:
            raise NotFoundError(f"Unable to find shared memory region: '{name}'")
        return self.regions[name]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70) | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
KEYS = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "binary_data", "classification")


@given(st.dictionaries(st.sampled_from(KEYS[1:]), ANY), ANY)
def test_any_parameters_name_a_place_or_are_refused(parameters, region):
    parameters["shared_memory_region"] = region
    for read in (place_from_json, output_place_from_json):
        try:
            place = read(parameters)
        except AtollError as error:
            assert str(error)
        else:
            assert isinstance(place.region, str)
            assert 0 <= place.offset < 1 << 64
            assert 0 <= place.byte_size < 1 << 64


def refused(action, *arguments):
    try:
        return action(*arguments)
    except AtollError as error:
        return type(error), str(error)


def http_facts(body):
    if isinstance(body, tuple):
        return body
    return (
        body.id,
        {name: (one.datatype, one.shape, bytes(one.packed())) for name, one in body.inputs.items()},
        body.output_names,
        body.placement and (body.placement.inputs, body.placement.outputs, list(body.placement.targets)),
        body.form.binary,
    )


PLACES = st.builds(Place, st.sampled_from(["a", "b", "gone"]), st.integers(0, 70), st.sampled_from([0, 4, 8, 12]))
SOURCE = st.sampled_from(["json", "binary"]) | PLACES
TARGET = st.sampled_from(["json", "binary"]) | PLACES


def parameters_of(place: Place) -> dict[str, object]:
    return {
        "shared_memory_region": place.region,
        "shared_memory_offset": place.offset,
        "shared_memory_byte_size": place.byte_size,
    }


def http_request(sources, targets, request_id, number):
    document = {"id": request_id} if request_id else {}
    document["inputs"] = inputs = []
    payload = b""
    for position, source in enumerate(sources):
        one = {"name": f"IN{position}", "datatype": "INT32", "shape": [1]}
        if source == "json":
            one["data"] = [number]
        elif source == "binary":
            one["parameters"] = {"binary_data_size": 4}
            payload += bytes([number, 0, 0, 0])
        else:
            one["parameters"] = parameters_of(source)
        inputs.append(one)
    document["outputs"] = [
        {"name": f"OUT{position}", "parameters": {"binary_data": target == "binary"}}
        if isinstance(target, str)
        else {"name": f"OUT{position}", "parameters": parameters_of(target)}
        for position, target in enumerate(targets)
    ]
    text = json.dumps(document).encode()
    return memoryview(text + payload), len(text)


@given(
    st.lists(SOURCE, max_size=3), st.lists(TARGET, max_size=2), st.lists(st.sampled_from(["", "x", "y"]), min_size=2)
)
def test_memory_changes_nothing_over_http(sources, targets, ids):
    regions = Regions(a=1, b=2)
    remembering = InferDecoder(regions)
    for number, request_id in enumerate(ids):
        body, length = http_request(sources, targets, request_id, number % 256)
        fresh = http_facts(refused(decode_infer, body, length, "m", regions))
        assert http_facts(refused(remembering.decode, body, length, "m")) == fresh
        if number == 1:
            regions.regions = {"a": Region(7), "gone": Region(8)}


def test_a_request_by_region_is_remembered_and_its_regions_are_not():
    regions = Regions(a=1)
    decoder = InferDecoder(regions)
    body, length = http_request([Place("a", 0, 4)], [Place("a", 8, 4)], "", 0)
    first = decoder.decode(body, length, "m")
    (plan,) = decoder._plans.values()
    second = decoder.decode(body, length, "m")
    assert second.form is plan.form, "it came from the memory"
    assert second.placement is not first.placement
    assert second.inputs["IN0"].array().tolist() == [0x01010101]
    regions.regions["a"] = Region(2)
    assert decoder.decode(body, length, "m").inputs["IN0"].array().tolist() == [0x02020202]
    del regions.regions["a"]
    with pytest.raises(NotFoundError):
        decoder.decode(body, length, "m")


def test_json_data_is_not_taken_for_a_region():
    decoder = InferDecoder(Regions())
    text = b'{"inputs":[{"name":"IN","datatype":"BYTES","shape":[1],"data":["shared_memory_region"]}]}'
    for _ in range(2):
        assert decoder.decode(memoryview(text), len(text), "m").inputs["IN"].array().tolist() == [
            b"shared_memory_region"
        ]
    assert not decoder._plans


def grpc_message(sources, targets, request_id, number) -> bytes:
    message = triton.ModelInferRequest(model_name="m", id=request_id)
    for position, source in enumerate(sources):
        one = message.inputs.add(name=f"IN{position}", datatype="INT32", shape=[1])
        if isinstance(source, Place):
            set_place(one, source)
        else:
            message.raw_input_contents.append(bytes([number, 0, 0, 0]))
    for position, target in enumerate(targets):
        one = message.outputs.add(name=f"OUT{position}")
        if isinstance(target, Place):
            set_place(one, target)
    return message.SerializeToString()


def set_place(tensor, place: Place) -> None:
    tensor.parameters["shared_memory_region"].string_param = place.region
    tensor.parameters["shared_memory_offset"].int64_param = place.offset
    tensor.parameters["shared_memory_byte_size"].int64_param = place.byte_size


def grpc_facts(message, regions):
    request, parameters = build_request(message, None, None, regions)  # type: ignore[arg-type]
    placement = parameters.placement
    return (
        {name: (one.datatype, one.shape, bytes(one.packed())) for name, one in request.inputs.items()},
        request.output_names,
        placement and (placement.inputs, placement.outputs, list(placement.targets)),
    )


@given(st.lists(SOURCE, max_size=3), st.lists(TARGET, max_size=2), st.sampled_from(["", "x"]))
def test_memory_changes_nothing_over_grpc(sources, targets, request_id):
    regions = Regions(a=1, b=2)
    codec = InferCodec()
    for number in range(3):
        encoded = grpc_message(sources, targets, request_id, number)
        fresh = refused(grpc_facts, grpc_codec._parse_any(encoded), regions)
        assert refused(grpc_facts, codec.parse(encoded), regions) == fresh
        if number == 1:
            regions.regions = {"a": Region(7), "gone": Region(8)}


def test_a_message_by_region_is_remembered():
    codec = InferCodec()
    encoded = grpc_message([Place("a", 0, 4)], [Place("a", 8, 4)], "", 0)
    first = codec.parse(encoded)
    found = codec._messages.find(encoded)
    assert found is not None
    assert found.inputs is first.inputs
    assert codec._messages.find(encoded + b"\0") is None


@given(
    st.dictionaries(st.sampled_from([*KEYS[:3], "other"]), st.integers(0, 5), max_size=4), st.integers(-5, 2**63 - 1)
)
def test_both_readers_agree_on_parameters_of_any_kind(kinds, number):
    message = triton.ModelInferRequest(model_name="m")
    for tensor in (message.inputs.add(name="I", datatype="INT32", shape=[1]), message.outputs.add(name="O")):
        for key, kind in kinds.items():
            parameter = tensor.parameters[key]
            if kind == 1:
                parameter.string_param = "a"
            elif kind == 2:
                parameter.int64_param = number
            elif kind == 3:
                parameter.bool_param = True
            elif kind == 4:
                parameter.double_param = 1.5
            elif kind == 5:
                parameter.uint64_param = 1
    encoded = message.SerializeToString()
    regions = Regions(a=1)
    codec = InferCodec()
    wanted = refused(grpc_facts, grpc_codec._parse_any(encoded), regions)
    for _ in range(2):
        assert refused(grpc_facts, codec.parse(encoded), regions) == wanted


def test_where_no_memory_is_shared_no_region_is_found():
    body, length = http_request([Place("a", 0, 4)], [], "", 0)
    with pytest.raises(NotFoundError, match=r"Unable to find shared memory region: 'a'.*--allow-client-shm=true"):
        decode_infer(body, length, "m")


def test_a_placed_output_is_described_and_has_no_data():
    outputs = [
        Tensor(name, DataType.INT32, (2,), array=np.array([number, number], np.int32))
        for number, name in enumerate(("A", "B", "C"))
    ]
    response = PlacedResponse(InferenceResponse("m", "1", "id", outputs), ["B"])
    parts, length = ResponseEncoder().encode(response, OutputForm(binary={"A": True, "B": False, "C": False}))
    document = json.loads(bytes(parts[0]))
    assert length == len(parts[0])
    assert document["outputs"] == [
        {"name": "A", "datatype": "INT32", "shape": [2], "parameters": {"binary_data_size": 8}},
        {"name": "B", "datatype": "INT32", "shape": [2]},
        {"name": "C", "datatype": "INT32", "shape": [2], "data": [2, 2]},
    ]
    assert b"".join(parts[1:]) == bytes(8)
    message = triton.ModelInferResponse.FromString(InferCodec().encode(response))
    assert [one.name for one in message.outputs] == ["A", "B", "C"]
    assert list(message.raw_output_contents) == [bytes(8), b"", b"\2\0\0\0\2\0\0\0"]


def test_an_output_by_region_cannot_have_classes_too():
    parameters = {**parameters_of(Place("a", 0, 4)), "classification": 2}
    with pytest.raises(InvalidArgumentError, match="Output can't set both"):
        output_place_from_json(parameters)
