"""The messages between the server and a child process: packing and parsing, the same code on both sides. Pure.

A message is a header (length of what follows, kind, key) and a payload. What carries tensors is a packet: a fixed head,
the tensors' names, types and shapes as JSON, further facts as JSON, an id, where each tensor's bytes lie, and the bytes
of those that are small enough to travel in the message. JSON that repeats from message to message is looked up, not
parsed. Everything that is read is checked against the message's own length: the other side may be out of its mind.

Imported by child processes: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from atoll.errors import InternalError
from atoll.tensor import BY_NUMBER, BY_PROTOCOL_NAME, DataType, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from atoll.tensor import Buffer

# From the server to the child.
EXECUTE = 1  # key: the batch's number; the payload: each request's key and packet
CANCEL = 2  # key: the request's
RESULT = 3  # key: the call's; a packet: a response to a request that the model made
REPLY = 4  # key: the question's; a packet without tensors
PROBE = 6  # key: the question's; whether the model says that it is ready
STOP = 5  # finish what has begun, finalize, and end
TIDY = 7  # give back shared memory that is not used
LOG_VERBOSE = 8  # key: whether the log takes details, 1, or not, 0

# From the child to the server.
READY = 16  # a packet without tensors: what the server should know of the model
FAILED = 17  # a packet without tensors: why the model cannot be started
RESPONSE = 18  # key: the request's; a packet
RELEASED = 19  # key: the batch's; how many nanoseconds its execution took: room for the next one
RESCHEDULE = 20  # key: the request's; a packet without tensors
INFER = 21  # key: the call's; a packet
CANCEL_CALL = 22  # key: the call's
ASK = 23  # key: the question's; a packet
PROBED = 25  # key: the question's; a packet without tensors
TELL = 24  # a packet without tensors; nobody answers

# Both ways.
FREE = 32  # blocks of the receiver's shared memory that the sender needs no more
RETRACT = 33  # key: a region of the sender's shared memory that is gone

KINDS = frozenset(range(EXECUTE, LOG_VERBOSE + 1)) | frozenset(range(READY, PROBED + 1)) | {FREE, RETRACT}

FINAL = 1  # flags of a packet
EMPTY = 2  # no response in it: it only ends the request

HEADER = struct.Struct("<IIQ")  # bytes that follow, kind, key
_HEAD = struct.Struct("<HHIHH")  # tensors, length of their description, of the facts, of the id, flags
_PLACE = struct.Struct("<IIQQQ")  # region (0: in the message), whose, start of the block, start, size
_FREED = struct.Struct("<IIQ")  # region, nothing, start of the block
_KEY = struct.Struct("<Q")
_COUNT = struct.Struct("<I")

INLINE_BYTES = 32 << 10  # up to here a tensor is copied through the socket faster than it is put into shared memory
MAX_MESSAGE_BYTES = 1 << 31
_ROOM = 64  # for what goes round a packet
_REMEMBERED = 1024  # descriptions and facts
_SENDERS, _RECEIVERS = 0, 1  # whose shared memory, as the sender of the message sees it

Facts = dict[str, Any]
Place = tuple[int, int, int, int, int]
NOTHING: Facts = {}


class WireError(InternalError):
    """The other side sent what is no message."""


class Memory(Protocol):
    """The shared memory of one side, as packing and parsing use it."""

    def place(self, data: Buffer) -> tuple[int, int, int, int, int] | None:
        """Where `data` lies now, or has been copied to: region, whose, block, start, size; None: send it along."""

    def find(self, region: int, whose: int, block: int, start: int, size: int) -> memoryview:
        """What the other side has placed there. Raises ValueError where nothing is."""

    def lent(self, part: bytearray, places: int) -> None:
        """The last `places` of the part's places name blocks of the receiver's, which this process may still change."""


class Packet(NamedTuple):
    """What a message with tensors says. `facts` may be shared with other packets: do not change it."""

    tensors: list[Tensor]
    facts: Facts
    id: str
    flags: int


# ---- packing

_descriptions: dict[tuple[tuple[str, int, tuple[int, ...]], ...], bytes] = {}  # of numbers: types hash slowly


def message(kind: int, key: int, payload: bytes = b"") -> bytes:
    """A whole message."""
    return HEADER.pack(len(payload), kind, key) + payload


def pack(
    kind: int,
    key: int,
    memory: Memory | None,
    tensors: Sequence[Tensor] = (),
    facts: Mapping[str, Any] | bytes = NOTHING,
    id: str = "",
    flags: int = 0,
) -> list[Buffer]:
    """A message with one packet, in parts. `facts` may be what `encode_facts` made of them."""
    parts, size = packed(memory, tensors, facts, id, flags)
    parts[0] = HEADER.pack(size, kind, key) + parts[0]
    if len(parts) <= len(tensors) and memory is not None and lends(parts[0], len(tensors)):
        parts[0] = part = bytearray(parts[0])
        memory.lent(part, len(tensors))
    return parts


def lends(part: Buffer, places: int) -> bool:
    """Whether one of the places at the end of a message's first part is in the receiver's memory."""
    return any(part[at] == _RECEIVERS for at in range(len(part) - places * _PLACE.size + 4, len(part), _PLACE.size))


def places_at_end(part: bytearray, places: int) -> Iterator[tuple[int, Place]]:
    """The places at the end of a message's first part that are in the receiver's memory, and where each is written."""
    for at in range(len(part) - places * _PLACE.size, len(part), _PLACE.size):
        place = _PLACE.unpack_from(part, at)
        if place[1] == _RECEIVERS:
            yield at, place


def write_place(part: bytearray, at: int, place: Place) -> None:
    """Name another place for the same bytes."""
    _PLACE.pack_into(part, at, *place)


def pack_batch(key: int, packets: Sequence[tuple[int, tuple[list[Buffer], int]]]) -> list[Buffer]:
    """EXECUTE: each request's key, with what `packed` made of it."""
    parts: list[Buffer] = [b""]
    total = _COUNT.size
    for request_key, (request_parts, size) in packets:
        request_parts[0] = _KEY.pack(request_key) + request_parts[0]
        parts += request_parts
        total += _KEY.size + size
    parts[0] = HEADER.pack(total, EXECUTE, key) + _COUNT.pack(len(packets))
    return parts


def packed(
    memory: Memory | None, tensors: Sequence[Tensor], facts: Mapping[str, Any] | bytes, id: str, flags: int
) -> tuple[list[Buffer], int]:
    """A packet in parts, the first of which are bytes, and its length."""
    described = b""
    places = b""
    data: list[Buffer] = []
    size = _HEAD.size
    named = id.encode("utf-8", "surrogatepass") if id else b""
    if tensors:
        key = tuple([(one.name, one.datatype.number, one.shape) for one in tensors])
        described = _descriptions.get(key) or _describe(key)
    if len(named) > 0xFFFF or len(described) > 0xFFFF or len(tensors) > 0xFFFF:  # before anything is placed
        raise InternalError("a request's id or its tensors' names and shapes take more than 64 KiB")
    if tensors:
        for one in tensors:
            buffer = one.packed()
            length = len(buffer)
            place = memory.place(buffer) if length > INLINE_BYTES and memory is not None else None
            if place is None:
                places += _PLACE.pack(0, 0, 0, 0, length)
                data.append(buffer)
                size += length
            else:
                places += _PLACE.pack(*place)
    known = b"" if not facts else facts if type(facts) is bytes else encode_facts(facts)
    head = _HEAD.pack(len(tensors), len(described), len(known), len(named), flags)
    parts: list[Buffer] = [head + described + known + named + places, *data]
    size += len(described) + len(known) + len(named) + len(places)
    if size > MAX_MESSAGE_BYTES - _ROOM:
        raise InternalError(f"a message of {size} bytes: without shared memory it may have {MAX_MESSAGE_BYTES}")
    return parts, size


def encode_facts(facts: Mapping[str, Any] | bytes) -> bytes:
    """For facts that are sent often."""
    return facts if isinstance(facts, bytes) else json.dumps(facts).encode()


def pack_failed(text: str, **facts: Any) -> bytes:
    """FAILED: why the model cannot be started."""
    return b"".join(pack(FAILED, 0, None, facts={"error": text, **facts}))


def pack_freed(blocks: Sequence[tuple[int, int]]) -> bytes:
    """FREE: these blocks, as (region, start), are needed no more."""
    return message(FREE, 0, b"".join([_FREED.pack(region, 0, start) for region, start in blocks]))


def pack_released(key: int, execution_ns: int) -> bytes:
    """RELEASED: the batch's execution has returned."""
    return HEADER.pack(_KEY.size, RELEASED, key) + _KEY.pack(max(execution_ns, 0))


def _describe(key: tuple[tuple[str, int, tuple[int, ...]], ...]) -> bytes:
    described = json.dumps([(name, BY_NUMBER[number].protocol_name, shape) for name, number, shape in key]).encode()
    if len(_descriptions) >= _REMEMBERED:
        _descriptions.clear()
    _descriptions[key] = described
    return described


# ---- parsing

_described: dict[bytes, list[tuple[str, DataType, tuple[int, ...]]]] = {b"": []}
_facts: dict[bytes, Facts] = {b"": NOTHING}


def parse(payload: memoryview, memory: Memory | None) -> Packet:
    """A payload that is one packet. Raises WireError."""
    packet, end = parse_from(payload, 0, memory)
    if end != len(payload):
        raise WireError(f"a message has {len(payload) - end} bytes too many")
    return packet


def parse_batch(payload: memoryview, memory: Memory | None) -> list[tuple[int, Packet]]:
    """EXECUTE's requests, with their keys. Raises WireError."""
    try:
        (count,) = _COUNT.unpack_from(payload, 0)
        start = _COUNT.size
        requests = []
        for _ in range(count):
            (key,) = _KEY.unpack_from(payload, start)
            packet, start = parse_from(payload, start + _KEY.size, memory)
            requests.append((key, packet))
    except struct.error as error:
        raise WireError(f"a batch is cut off: {error}") from None
    if start != len(payload):
        raise WireError(f"a batch has {len(payload) - start} bytes too many")
    return requests


def parse_from(payload: memoryview, start: int, memory: Memory | None) -> tuple[Packet, int]:
    """The packet that starts there, and where it ends. Raises WireError."""
    try:
        count, described, known, named, flags = _HEAD.unpack_from(payload, start)
        at = start + _HEAD.size
        end = at + described
        descriptions = bytes(payload[at:end])
        infos = _described.get(descriptions)
        if infos is None:
            infos = _parse_description(descriptions)
        facts = NOTHING
        if known:
            at, end = end, end + known
            facts = _parse_facts(bytes(payload[at:end]))
        request_id = ""
        if named:
            at, end = end, end + named
            request_id = bytes(payload[at:end]).decode("utf-8", "surrogatepass")
        if count != len(infos):
            raise WireError(f"a message describes {len(infos)} tensors and brings {count}")
        tensors = []
        place = end
        end += count * _PLACE.size
        for name, datatype, shape in infos:
            region, whose, block, first, size = _PLACE.unpack_from(payload, place)
            place += _PLACE.size
            if region:
                if memory is None:
                    raise WireError("a message points into shared memory, and there is none")
                buffer: Buffer = memory.find(region, whose, block, first, size)
            else:
                at, end = end, end + size
                if end > len(payload):
                    raise WireError("a message is shorter than its tensors")
                buffer = bytearray(payload[at:end])  # a model may write to its inputs
            tensors.append(Tensor(name, datatype, shape, buffer=buffer))
    except (struct.error, ValueError, TypeError, KeyError, UnicodeError, RecursionError) as error:
        raise WireError(f"a message makes no sense: {error}") from None
    if end > len(payload):
        raise WireError("a message is cut off")
    return Packet(tensors, facts, request_id, flags), end


def parse_freed(payload: memoryview) -> list[tuple[int, int]]:
    """FREE's blocks, as (region, start). Raises WireError."""
    if len(payload) % _FREED.size:
        raise WireError("a list of freed blocks is cut off")
    return [(region, start) for region, _, start in _FREED.iter_unpack(payload)]


def parse_released(payload: memoryview) -> int:
    """RELEASED's nanoseconds. Raises WireError."""
    if len(payload) != _KEY.size:
        raise WireError("a release has the wrong length")
    return int(_KEY.unpack(payload)[0])


def _parse_description(described: bytes) -> list[tuple[str, DataType, tuple[int, ...]]]:
    infos: list[tuple[str, DataType, tuple[int, ...]]] = []
    if not described:
        return infos  # another thread has just forgotten all descriptions
    for name, datatype, shape in json.loads(described):
        if type(name) is not str or not all(type(dim) is int and dim >= 0 for dim in shape):
            raise WireError("a tensor's name or shape makes no sense")
        infos.append((name, BY_PROTOCOL_NAME[datatype], tuple(shape)))
    if len(_described) >= _REMEMBERED:
        _described.clear()
        _described[b""] = []
    _described[described] = infos
    return infos


def _parse_facts(known: bytes) -> Facts:
    facts = _facts.get(known)
    if facts is None:
        facts = json.loads(known)
        if type(facts) is not dict:
            raise WireError("a message's facts are no object")
        of_one_request = "trace" in facts or "spans" in facts
        if len(known) <= INLINE_BYTES // 8 and not of_one_request:
            if len(_facts) >= _REMEMBERED:
                _facts.clear()
                _facts[b""] = NOTHING
            _facts[known] = facts
    return facts


class Messages:
    """Cuts a stream of bytes into messages; the buffer into which the socket reads is its own.

    while data is there: `received(socket.recv_into(messages.room()))`, then take all of `messages`.
    """

    def __init__(self, byte_size: int = 256 << 10):
        self._byte_size = byte_size
        self._buffer = bytearray(byte_size)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0

    def room(self) -> memoryview:
        """Where the next bytes are to be put: room for the rest of the message that has begun, and never empty."""
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._buffer) > 4 * self._byte_size:
                self._grow(self._byte_size)  # one large message must not keep its memory
        held = self._end - self._start
        needed = held + self._byte_size // 2
        if held >= HEADER.size:  # the rest of the message, but no more than what has come vouches for
            announced = HEADER.size + HEADER.unpack_from(self._view, self._start)[0]
            needed = max(needed, min(announced, 2 * held + self._byte_size))
        if self._start + needed > len(self._buffer):
            if needed > len(self._buffer):
                self._grow(needed)
            else:
                self._view[:held] = self._view[self._start : self._end]
                self._start, self._end = 0, held
        return self._view[self._end :]

    def received(self, count: int) -> None:
        """So many bytes were put into `room()`."""
        self._end += count

    def __iter__(self) -> Iterator[tuple[int, int, memoryview]]:
        """Each whole message: kind, key, payload. The payload is valid until the next `room()`. Raises WireError."""
        view = self._view
        while self._end - self._start >= HEADER.size:
            length, kind, key = HEADER.unpack_from(view, self._start)
            if length > MAX_MESSAGE_BYTES:
                raise WireError(f"a message of {length} bytes was announced")
            first = self._start + HEADER.size
            end = first + length
            if end > self._end:
                if kind not in KINDS:  # the rest would never come
                    raise WireError(f"a message of kind {kind} began")
                return
            self._start = end
            yield kind, key, view[first:end]

    def _grow(self, byte_size: int) -> None:
        """Another buffer: somebody may still look at the old one."""
        kept = self._view[self._start : self._end]
        self._buffer = bytearray(byte_size)
        self._view = memoryview(self._buffer)
        self._view[: len(kept)] = kept
        self._start, self._end = 0, len(kept)
