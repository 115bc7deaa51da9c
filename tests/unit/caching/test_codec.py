"""An answer as bytes: what goes in comes out, and bytes that are none of ours are refused."""

import math
import struct

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.caching.answers import parameters, said, tensors

from atoll.caching.codec import UnfitError, decode, encode
from atoll.request import Parameter
from atoll.tensor import DataType, Tensor


@given(st.lists(tensors(), max_size=3), parameters, st.booleans())
def test_an_answer_comes_back(outputs: list[Tensor], given_parameters: dict[str, Parameter], trusted: bool) -> None:
    found, found_parameters = decode(encode(outputs, given_parameters), trusted=trusted)
    assert [said(one) for one in found] == [said(one) for one in outputs]
    assert found_parameters == given_parameters
    assert {key: type(value) for key, value in found_parameters.items()} == {
        key: type(value) for key, value in given_parameters.items()
    }
    for one, other in zip(found, outputs, strict=True):
        assert one.array().shape == other.shape


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_refused(data: bytes) -> None:
    with pytest.raises(UnfitError):
        decode(data)


@given(st.lists(tensors(), max_size=2), parameters, st.data())
def test_a_damaged_answer_is_refused_or_whole(
    outputs: list[Tensor], given_parameters: dict[str, Parameter], data: st.DataObject
) -> None:
    entry = bytearray(encode(outputs, given_parameters))
    where = data.draw(st.integers(0, len(entry) - 1))
    entry[where] ^= data.draw(st.integers(1, 255))
    try:
        found, _ = decode(entry)
    except UnfitError:
        return
    for one in found:  # what it says is then true of its bytes
        assert one.array().shape == one.shape


@given(st.lists(tensors(), min_size=1, max_size=2), st.data())
def test_a_part_of_an_answer_is_refused(outputs: list[Tensor], data: st.DataObject) -> None:
    entry = encode(outputs, {})
    with pytest.raises(UnfitError):
        decode(entry[: data.draw(st.integers(0, len(entry) - 1))])
    with pytest.raises(UnfitError):
        decode(entry + b"x")


def entry_with(header: object, data: bytes = b"") -> bytes:
    written = orjson.dumps(header)
    return struct.pack("<4sI", b"AtC1", len(written)) + written + data


INT32 = DataType.INT32.number


@pytest.mark.parametrize(
    ("header", "data"),
    [
        pytest.param([[["A", INT32, [2**62, 2**62], 8]], {}], b"12345678", id="a shape that overflows"),
        pytest.param([[["A", INT32, [-1], 4]], {}], b"1234", id="a negative dimension"),
        pytest.param([[["A", INT32, [1], -4]], {}], b"1234", id="a negative size"),
        pytest.param([[["A", INT32, [True], 4]], {}], b"1234", id="a dimension that is none"),
        pytest.param([[["A", INT32, [1.0], 4]], {}], b"1234", id="a fraction of a dimension"),
        pytest.param([[["A", INT32, [3], 4]], {}], b"1234", id="too little data"),
        pytest.param([[["A", INT32, [1], 4]], {}], b"12345", id="too much data"),
        pytest.param([[["A", 99, [1], 4]], {}], b"1234", id="an unknown type"),
        pytest.param([[["A", 0, [0], 0]], {}], b"", id="no type"),
        pytest.param([[[7, INT32, [1], 4]], {}], b"1234", id="a name that is none"),
        pytest.param([[["A", INT32, [1] * 65, 4]], {}], b"1234", id="too many dimensions"),
        pytest.param([[["A", DataType.BYTES.number, [2], 5]], {}], b"\1\0\0\0x", id="an element too few"),
        pytest.param([[["A", DataType.BYTES.number, [1], 5]], {}], b"\xff\0\0\0x", id="an element that is too long"),
        pytest.param([[["A", INT32, "1", 4]], {}], b"1234", id="a shape that is none"),
        pytest.param([[["A", INT32]], {}], b"", id="a description cut off"),
        pytest.param([[], {"a": [1]}], b"", id="a parameter that is none"),
        pytest.param([[], None], b"", id="no parameters"),
        pytest.param([], b"", id="nothing"),
        pytest.param({"a": 1, "b": 2}, b"", id="another thing"),
    ],
)
def test_what_somebody_else_wrote_is_refused(header: object, data: bytes) -> None:
    with pytest.raises(UnfitError):
        decode(entry_with(header, data))


def test_a_header_that_goes_deep_is_refused() -> None:
    written = b"[" * 100_000
    with pytest.raises(UnfitError):
        decode(struct.pack("<4sI", b"AtC1", len(written)) + written)


def test_outputs_are_views_of_the_entry_that_nobody_can_write_to() -> None:
    (found,), _ = decode(encode([Tensor.from_numpy("A", np.arange(4096, dtype=np.int32))], {}), trusted=True)
    array = found.array()
    assert not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**70, "\ud800"])
def test_parameters_that_cannot_be_written_are_refused(value: Parameter) -> None:
    with pytest.raises(UnfitError):
        encode([], {"a": value})


def test_an_answer_over_the_limit_is_refused() -> None:
    large = [Tensor.from_numpy("A", np.zeros(1000, np.uint8))]
    with pytest.raises(UnfitError, match="999 is the most"):
        encode(large, {}, 999)
    assert len(encode(large, {}, 1100)) <= 1100
