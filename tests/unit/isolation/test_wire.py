"""The messages between server and children: what is packed is parsed, and nothing else ever is."""

import contextlib
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InternalError
from atoll.isolation import wire
from atoll.tensor import DataType, Tensor

TEXT = st.text(max_size=20)
FACTS = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=3), max_size=4)
NUMERIC = [one for one in DataType if one not in (DataType.INVALID, DataType.BYTES)]


class Shelf:
    """A Memory: what is placed lies in it, under numbers."""

    def __init__(self) -> None:
        self.placed: list[bytes] = []

    def place(self, data: Any) -> tuple[int, int, int, int, int] | None:
        self.placed.append(bytes(data))
        return len(self.placed), 0, 64, 128, len(data)

    def find(self, region: int, whose: int, block: int, start: int, size: int) -> memoryview:
        if (whose, block, start) != (0, 64, 128) or region > len(self.placed):
            raise ValueError("nothing is there")
        if size != len(self.placed[region - 1]):
            raise ValueError("that is not its size")
        return memoryview(self.placed[region - 1])

    def lent(self, part: bytearray, places: int) -> None:
        raise AssertionError("nothing of the receiver's was placed")


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    name = draw(TEXT)
    if draw(st.booleans()):
        elements = draw(st.lists(st.binary(max_size=8), max_size=4))
        array = np.empty(len(elements), np.object_)
        array[:] = elements
        return Tensor(name, DataType.BYTES, array.shape, array=array)
    datatype = draw(st.sampled_from(NUMERIC))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    size = int(np.prod(shape, dtype=np.int64)) * datatype.size
    buffer = draw(st.binary(min_size=size, max_size=size))
    return Tensor(name, datatype, shape, buffer=buffer)


PACKETS = st.tuples(st.lists(tensors(), max_size=4), FACTS, TEXT, st.integers(0, 3))


def joined(parts: Sequence[Any]) -> bytes:
    return b"".join(bytes(part) for part in parts)


def same(packet: wire.Packet, sent: tuple[list[Tensor], dict[str, Any], str, int]) -> bool:
    tensors, facts, name, flags = sent
    return [(one.name, one.datatype, one.shape, bytes(one.packed())) for one in packet.tensors] == [
        (one.name, one.datatype, one.shape, bytes(one.packed())) for one in tensors
    ] and (packet.facts, packet.id, packet.flags) == (facts, name, flags)


def only_message(data: bytes) -> tuple[int, int, bytes]:
    messages = wire.Messages()
    room = messages.room()
    room[: len(data)] = data
    messages.received(len(data))
    [(kind, key, payload)] = messages
    return kind, key, bytes(payload)


@given(PACKETS, st.integers(0, 2**64 - 1))
def test_a_packet_comes_as_it_went(sent: tuple[Any, ...], key: int) -> None:
    for memory in (None, Shelf()):
        kind, came, payload = only_message(joined(wire.pack(wire.RESPONSE, key, memory, sent[0], sent[1], *sent[2:])))
        assert (kind, came) == (wire.RESPONSE, key)
        assert same(wire.parse(memoryview(payload), memory), sent)


@given(st.lists(PACKETS, max_size=4))
def test_a_batch_comes_as_it_went(sent: list[tuple[Any, ...]]) -> None:
    packets = [(n * 7, wire.packed(None, *one)) for n, one in enumerate(sent)]
    kind, key, payload = only_message(joined(wire.pack_batch(9, packets)))
    assert (kind, key) == (wire.EXECUTE, 9)
    batch = wire.parse_batch(memoryview(payload), None)
    assert [one for one, _ in batch] == [n * 7 for n in range(len(sent))]
    assert all(same(packet, one) for (_, packet), one in zip(batch, sent, strict=True))


def test_large_tensors_are_placed_and_small_ones_travel() -> None:
    shelf = Shelf()
    small = Tensor("S", DataType.UINT8, (wire.INLINE_BYTES,), buffer=b"s" * wire.INLINE_BYTES)
    large = Tensor("L", DataType.UINT8, (wire.INLINE_BYTES + 1,), buffer=b"l" * (wire.INLINE_BYTES + 1))
    parts = wire.pack(wire.RESPONSE, 1, shelf, [small, large, small])
    assert shelf.placed == [large.buffer]
    packet = wire.parse(memoryview(joined(parts))[wire.HEADER.size :], shelf)
    assert [bytes(one.packed()) for one in packet.tensors] == [small.buffer, large.buffer, small.buffer]
    packet.tensors[0].array()[0] = 7  # a model may write to its inputs


def test_a_tensor_that_was_not_placed_travels() -> None:
    shelf = Shelf()
    shelf.place = lambda data: None  # type: ignore[method-assign]
    large = Tensor("L", DataType.UINT8, (1 << 20,), buffer=b"l" * (1 << 20))
    packet = wire.parse(memoryview(joined(wire.pack(wire.RESPONSE, 1, shelf, [large])))[wire.HEADER.size :], None)
    assert packet.tensors[0].packed() == large.buffer


@given(PACKETS, st.data())
def test_what_is_cut_off_is_refused(sent: tuple[Any, ...], data: st.DataObject) -> None:
    payload = joined(wire.packed(None, *sent)[0])
    end = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(wire.WireError):
        wire.parse(memoryview(payload[:end]), None)
    with pytest.raises(wire.WireError):
        wire.parse(memoryview(payload + b"x"), None)
    batch = joined(wire.pack_batch(1, [(1, wire.packed(None, *sent))]))[wire.HEADER.size :]
    end = data.draw(st.integers(0, len(batch) - 1))
    with pytest.raises(wire.WireError):
        wire.parse_batch(memoryview(batch[:end]), None)


@given(PACKETS, st.data())
def test_what_is_changed_is_refused_or_parsed(sent: tuple[Any, ...], data: st.DataObject) -> None:
    shelf = Shelf()
    payload = bytearray(joined(wire.packed(shelf, *sent)[0]))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(wire.WireError):
        wire.parse(memoryview(bytes(payload)), shelf)


@given(st.binary(max_size=200))
def test_bytes_of_no_meaning_are_refused_or_parsed(data: bytes) -> None:
    for parse in (
        lambda one: wire.parse(one, Shelf()),
        lambda one: wire.parse(one, None),
        lambda one: wire.parse_batch(one, Shelf()),
        wire.parse_freed,
        wire.parse_released,
    ):
        with contextlib.suppress(wire.WireError):
            parse(memoryview(data))


@pytest.mark.parametrize(
    "description",
    [b"{}x", b"[[1, 2, 3]]", b'[["a", "FP32", [-1]]]', b'[["a", "FP32", [1.5]]]', b'[["a", [], [1]]]', b"[" * 5000,
     b'[["a", "FP32", 3]]', b'[["a", "NONE", [1]]]', b'[["a", "FP32"]]', b"7", b"null", b'[["a", "FP32", ["1"]]]'],
)  # fmt: skip
def test_descriptions_of_nonsense_are_refused(description: bytes) -> None:
    head = struct.pack("<HHIHH", 1, len(description), 0, 0, 0)
    place = struct.pack("<IIQQQ", 0, 0, 0, 0, 0)
    with pytest.raises(wire.WireError):
        wire.parse(memoryview(head + description + place), None)


@pytest.mark.parametrize("facts", [b"[]", b"7", b'"a"', b"{", b"\xff", b"[" * 5000, b"1" * 5000])
def test_facts_that_are_none_are_refused(facts: bytes) -> None:
    head = struct.pack("<HHIHH", 0, 0, len(facts), 0, 0)
    with pytest.raises(wire.WireError):
        wire.parse(memoryview(head + facts), None)


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3000):
        tensor = Tensor(f"T{number}", DataType.UINT8, (1,), buffer=b"x")
        payload = joined(wire.packed(None, [tensor], {"number": number}, "", 0)[0])
        assert wire.parse(memoryview(payload), None).facts == {"number": number}
    for memo in (wire._descriptions, wire._described, wire._facts):
        assert len(memo) <= 1025
    huge = {"text": "x" * 100_000}
    assert wire.parse(memoryview(joined(wire.packed(None, [], huge, "", 0)[0])), None).facts == huge
    assert all(len(known) <= 8192 for known in wire._facts)


def test_what_does_not_fit_is_refused_before_anything_is_placed() -> None:
    shelf = Shelf()
    large = Tensor("L", DataType.UINT8, (1 << 20,), buffer=b"l" * (1 << 20))
    with pytest.raises(InternalError):
        wire.packed(shelf, [large], {}, "i" * 70_000, 0)
    with pytest.raises(InternalError):
        wire.packed(shelf, [large] * 5000, {}, "", 0)
    assert not shelf.placed


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)), max_size=5), st.integers(0, 2**64 - 1))
def test_freed_and_released(blocks: list[tuple[int, int]], duration: int) -> None:
    kind, _, payload = only_message(wire.pack_freed(blocks))
    assert kind == wire.FREE
    assert wire.parse_freed(memoryview(payload)) == blocks
    kind, key, payload = only_message(wire.pack_released(7, duration))
    assert (kind, key, wire.parse_released(memoryview(payload))) == (wire.RELEASED, 7, duration)
    assert wire.parse_released(memoryview(only_message(wire.pack_released(7, -5))[2])) == 0


# ---- the stream

MESSAGES = st.lists(
    st.tuples(st.sampled_from(sorted(wire.KINDS)), st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=6
)


def streamed(data: bytes, cuts: Sequence[int], byte_size: int) -> list[tuple[int, int, bytes]]:
    """What comes of the stream when each read brings so much."""
    messages = wire.Messages(byte_size)
    came = []
    start = 0
    for cut in [*cuts, len(data)]:
        while start < cut:
            room = messages.room()
            assert len(room) > 0
            count = min(len(room), cut - start)
            room[:count] = data[start : start + count]
            messages.received(count)
            start += count
            came += [(kind, key, bytes(payload)) for kind, key, payload in messages]
    return came


@given(MESSAGES, st.lists(st.integers(0, 2000), max_size=8).map(sorted), st.sampled_from([32, 64, 512, 1 << 18]))
def test_a_stream_is_cut_where_messages_end(
    sent: list[tuple[int, int, bytes]], cuts: list[int], byte_size: int
) -> None:
    data = b"".join(wire.message(*one) for one in sent)
    assert streamed(data, [cut for cut in cuts if cut <= len(data)], byte_size) == sent


def test_at_every_split() -> None:
    sent = [(wire.RESPONSE, 1, b"a" * 50), (wire.STOP, 2, b""), (wire.FREE, 3, b"b" * 90)]
    data = b"".join(wire.message(*one) for one in sent)
    for first in range(len(data) + 1):
        assert streamed(data, [first], 64) == sent
    assert streamed(data, range(len(data)), 64) == sent


def test_a_large_message_keeps_no_memory() -> None:
    messages = wire.Messages(1024)
    data = wire.message(wire.RESPONSE, 1, b"x" * 1_000_000)
    start = 0
    while start < len(data):
        room = messages.room()
        assert len(room) <= 2 * (start + 1024) + 1024  # what has been announced is not believed before it comes
        count = min(len(room), len(data) - start)
        room[:count] = data[start : start + count]
        messages.received(count)
        start += count
        assert [len(payload) for _, _, payload in messages] == ([1_000_000] if start == len(data) else [])
    assert len(messages.room()) <= 4096


@pytest.mark.parametrize(
    "header",
    [wire.HEADER.pack(wire.MAX_MESSAGE_BYTES + 1, wire.RESPONSE, 0), wire.HEADER.pack(1000, 77, 0)],
)
def test_a_stream_of_nonsense_is_refused(header: bytes) -> None:
    messages = wire.Messages()
    messages.room()[: len(header)] = header
    messages.received(len(header))
    with pytest.raises(wire.WireError):
        list(messages)
