"""The memory that two processes share, both ends in this one: what is placed, sent back, kept, and freed."""

import gc
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from atoll.isolation import wire
from atoll.isolation.exchange import Exchange
from atoll.tensor import DataType, Tensor

PREFIX = f"atoll_test_exchange_{os.getpid()}_"
SIZE = 100_000


class Pair:
    """A server's end and a child's."""

    def __init__(self, first_bytes: int = 1 << 20, create: Any = None):
        ours, theirs = socket.socketpair()
        self.retracted: list[tuple[str, int]] = []
        options: dict[str, Any] = {"first_bytes": first_bytes, "growth_bytes": 1 << 16, "prefix": PREFIX}
        if create is not None:
            options["create"] = create
        self.server = Exchange(ours, on_retract=lambda one: self.retracted.append(("server", one)), **options)
        self.child = Exchange(
            theirs, on_retract=lambda one: self.retracted.append(("child", one)), keeps=True, **options
        )

    def close(self) -> None:
        self.server.close()
        self.child.close()

    def used(self) -> tuple[int, int]:
        """Bytes in blocks of the server's and of the child's."""
        gc.collect()
        for one, other in ((self.server, self.child), (self.child, self.server)):
            one.tidy()
            other.take_back(one.freed())
        return self.server._arena.used_bytes, self.child._arena.used_bytes


@pytest.fixture
def pair() -> Iterator[Pair]:
    one = Pair()
    yield one
    one.close()


def sent(memory: Exchange, tensor: Tensor) -> bytearray:
    """A message's payload, of which the tensor is not part."""
    parts = wire.pack(wire.RESPONSE, 1, memory, [tensor])
    assert len(parts) == 1
    return parts[0] if isinstance(parts[0], bytearray) else bytearray(parts[0])


def received(memory: Exchange, message: bytearray) -> np.ndarray:
    [tensor] = wire.parse(memoryview(bytes(message))[wire.HEADER.size :], memory).tensors
    return tensor.array()


def tensor(value: int) -> Tensor:
    return Tensor("T", DataType.UINT8, (SIZE,), array=np.full(SIZE, value, np.uint8))


def test_there_and_freed(pair: Pair) -> None:
    for one, other in ((pair.server, pair.child), (pair.child, pair.server)):
        array = received(other, sent(one, tensor(7)))
        assert (array == 7).all()
        assert max(pair.used()) >= SIZE
        part = array[10:20]
        del array
        assert max(pair.used()) >= SIZE  # somebody looks at a part of it
        assert (part == 7).all()
        del part
        assert pair.used() == (0, 0)


def test_what_the_child_sends_back_and_has_let_go_of_is_not_copied(pair: Pair) -> None:
    array = received(pair.child, sent(pair.server, tensor(7)))
    message = sent(pair.child, Tensor("T", DataType.UINT8, (SIZE,), array=array))
    del array
    pair.child.settle()
    back = received(pair.server, message)
    assert pair.used()[1] == 0  # nothing of the child's own is used
    assert (back == 7).all()
    del back
    assert pair.used() == (0, 0)


def test_what_the_child_keeps_is_copied_before_it_can_change(pair: Pair) -> None:
    kept = received(pair.child, sent(pair.server, tensor(7)))
    message = sent(pair.child, Tensor("T", DataType.UINT8, (SIZE,), array=kept))
    pair.child.settle()
    kept += 1
    back = received(pair.server, message)
    assert (back == 7).all()
    del kept
    assert (back == 7).all()
    del back
    assert pair.used() == (0, 0)


def test_a_part_of_what_was_received_goes_back_as_that_part(pair: Pair) -> None:
    data = np.arange(SIZE, dtype=np.uint8)
    array = received(pair.child, sent(pair.server, Tensor("T", DataType.UINT8, (SIZE,), array=data)))
    message = sent(pair.child, Tensor("T", DataType.UINT8, (40_000,), array=array[5:40_005]))
    del array
    pair.child.settle()
    assert (received(pair.server, message) == data[5:40_005]).all()
    assert pair.used() == (0, 0)


def test_both_flush_at_once(pair: Pair) -> None:
    """Who tells what is free may be any thread: each block is told once."""
    errors: list[BaseException] = []
    told: list[tuple[int, int]] = []
    start = threading.Barrier(4)

    def flush() -> None:
        try:
            start.wait()
            for _ in range(300):
                told.extend(pair.child.freed())
                pair.child._release_dead()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=flush) for _ in range(3)]
    for one in threads:
        one.start()
    start.wait()
    small = [Tensor("T", DataType.UINT8, (40_000,), array=np.zeros(40_000, np.uint8)) for _ in range(5)]
    for _ in range(100):
        views = [received(pair.child, sent(pair.server, one)) for one in small]
        del views
    for one in threads:
        one.join()
    told += pair.child.freed()
    assert not errors
    assert len(told) == 500
    pair.server.take_back(told)
    assert pair.used() == (0, 0)


def test_who_does_not_read_announcements_is_not_waited_for() -> None:
    """The rest travels along; what was announced can be read all the same."""
    pair = Pair(first_bytes=1)
    try:
        data = np.zeros(70_000, np.uint8)
        places = [pair.server.place(data.data) for _ in range(900)]
        assert places[0] is not None
        assert places[-1] is None
        for place in places:
            if place is not None:
                assert len(pair.child.find(*place)) == 70_000
        assert pair.server.place(data.data) is not None
    finally:
        pair.close()


def test_when_the_other_side_is_gone_nothing_is_placed() -> None:
    pair = Pair(first_bytes=1)
    pair.child.close()
    assert pair.server.place(memoryview(bytes(70_000))) is None
    pair.close()


def test_without_shared_memory_nothing_is_placed() -> None:
    pair = Pair(create=lambda byte_size, prefix: None)
    assert pair.server.place(memoryview(bytes(70_000))) is None
    pair.close()


@pytest.mark.parametrize(
    "place",
    [(1, 0, 0, 0, 10), (9, 0, 0, 0, 10), (1, 1, 0, 0, 10), (1, 0, 0, 0, 1 << 60), (1, 0, 1 << 63, 0, 10),
     (1, 1, 0, 1 << 63, 1), (4294967295, 7, 0, 0, 0)],
)  # fmt: skip
def test_places_that_there_are_not(pair: Pair, place: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        pair.server.find(*place)


def test_regions_that_are_none(pair: Pair, tmp_path: Any) -> None:
    """Nothing of what a mad child announces is mapped, and no descriptor stays."""
    before = len(os.listdir("/proc/self/fd"))
    theirs = pair.child._regions
    (tmp_path / "short").write_bytes(b"x" * 10)
    with open(tmp_path / "short", "rb") as file:
        socket.send_fds(theirs, [b"\0" * 12], [file.fileno()])
        socket.send_fds(theirs, [b"\0" * 5], [file.fileno()])
        socket.send_fds(theirs, [b"\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"], [file.fileno()])
        socket.send_fds(theirs, [b"\0\0\0\0\1\0\0\0\0\0\0\0"], [theirs.fileno()])
        theirs.send(b"\0" * 12)
    for _ in range(5):
        with pytest.raises(ValueError, match=r"\S"):
            pair.server.find(1, 0, 0, 0, 1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_that_is_not_used_is_given_back(pair: Pair) -> None:
    now = [0.0]
    pair.server._arena._clock = lambda: now[0]
    big = Tensor("T", DataType.UINT8, (5 << 20,), array=np.zeros(5 << 20, np.uint8))
    array = received(pair.child, sent(pair.server, big))
    small = received(pair.child, sent(pair.server, tensor(1)))
    assert pair.child.mirrored >= 1
    del array, small
    pair.used()
    now[0] += 31
    pair.server.tidy()
    for _, region in pair.retracted:
        pair.child.retracted(region)
    assert pair.child.mirrored == len(pair.server._arena._regions) == 1
    with pytest.raises(ValueError, match="region"):
        pair.child.retracted(7)
