"""What the endpoints for regions take: any document gives a region or an error, and never anything else."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.protocol.region_requests import (
    CudaRegion,
    SystemRegion,
    cuda_document,
    cuda_from_json,
    regions_of_message,
    system_document,
    system_from_json,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(["key", "offset", "byte_size", "raw_handle", "device_id", "b64", "x"])
DOCUMENT = JSON | st.dictionaries(MEMBERS, JSON | st.dictionaries(MEMBERS, JSON), max_size=6)
UNSIGNED = st.integers(0, 2**64 - 1)


@given(DOCUMENT)
def test_any_document_is_a_region_or_refused(document):
    body = json.dumps(document).encode()
    for read in (system_from_json, cuda_from_json):
        try:
            region = read("r", body)
        except AtollError as error:
            assert str(error)
        else:
            assert 0 <= region.byte_size < 1 << 64


@given(st.binary(max_size=40))
def test_any_bytes_are_refused_or_read(body):
    for read in (system_from_json, cuda_from_json):
        try:
            read("r", body)
        except AtollError as error:
            assert str(error)


@given(st.text(), st.text(st.characters(codec="utf-8")), UNSIGNED, UNSIGNED)
def test_a_right_document_is_taken_as_it_is(name, key, offset, byte_size):
    wanted = SystemRegion(name, key, offset, byte_size)
    body = json.dumps({"key": key, "offset": offset, "byte_size": byte_size}).encode()
    assert system_from_json(name, body) == wanted
    assert system_document(wanted) == {"name": name, "key": key, "offset": offset, "byte_size": byte_size}


@given(st.binary(min_size=64, max_size=64), UNSIGNED, UNSIGNED)
def test_a_handle_is_taken_as_it_is(handle, device_id, byte_size):
    text = base64.b64encode(handle).decode()
    body = json.dumps({"raw_handle": {"b64": text}, "device_id": device_id, "byte_size": byte_size}).encode()
    wanted = CudaRegion("c", handle, device_id, byte_size)
    assert cuda_from_json("c", body) == wanted
    document = cuda_document(wanted)
    assert document == {"name": "c", "device_id": device_id, "byte_size": byte_size}
    assert regions_of_message([document]) == {"regions": {"c": document}}


@given(st.binary(max_size=100).filter(lambda one: len(one) != 64))
def test_a_handle_of_another_length_is_refused(handle):
    text = base64.b64encode(handle).decode()
    body = json.dumps({"raw_handle": {"b64": text}, "device_id": 0, "byte_size": 8}).encode()
    with pytest.raises(InvalidArgumentError, match=f"64 bytes, not {len(handle)}"):
        cuda_from_json("c", body)


def test_the_offset_is_0_unless_it_is_said():
    assert system_from_json("r", b'{"key": "/k", "byte_size": 8}').offset == 0
    with pytest.raises(InternalError, match="non-unsigned-integer"):
        system_from_json("r", b'{"key": "/k", "byte_size": 8, "offset": null}')
