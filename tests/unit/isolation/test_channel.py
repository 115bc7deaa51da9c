"""Both ends of the channel between server and child, in one process: order, backpressure, hand-over, nonsense, ends."""

import asyncio
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from atoll.isolation import wire
from atoll.isolation.channel import Channel
from atoll.isolation.child_channel import ChannelClosedError, ChildChannel
from atoll.isolation.exchange import Exchange
from atoll.isolation.readers import Readers

PATIENCE_S = 60.0
PREFIX = f"atoll_test_channel_{os.getpid()}_"


def eventually(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"it never came to this: {what}"
        time.sleep(0.002)


def exchange(regions: socket.socket) -> Exchange:
    return Exchange(regions, first_bytes=1 << 16, growth_bytes=1 << 16, prefix=PREFIX, on_retract=lambda one: None)


class Ends:
    """The server's end, which notes what comes, and the child's."""

    def __init__(self, readers: Readers):
        data, self.child_data = socket.socketpair()
        regions, self.child_regions = socket.socketpair()
        self.came: list[tuple[int, int, bytes]] = []
        self.settled = 0
        self.broken: list[str] = []
        self.lost = 0
        self.on_message: Callable[[int, int, memoryview], None] = lambda kind, key, payload: None
        self.data, self.regions = data, regions
        self.server = Channel(
            data, exchange(regions), readers, self._handle, self._settle, self.broken.append, self._lose
        )
        self.server.open()

    def _handle(self, kind: int, key: int, payload: memoryview) -> None:
        self.came.append((kind, key, bytes(payload)))
        self.on_message(kind, key, payload)

    def _settle(self) -> None:
        self.settled += 1
        self.server.flush()

    def _lose(self) -> None:
        self.lost += 1

    def say(self, number: int, size: int = 1) -> None:
        self.child_data.sendall(wire.message(wire.RELEASED, number, b"x" * size))

    def numbers(self) -> list[int]:
        return [key for _, key, _ in self.came]

    def close(self) -> None:
        self.server.close()
        self.child_data.close()
        self.child_regions.close()


@pytest.fixture
def readers() -> Iterator[Readers]:
    one = Readers()
    yield one
    one.close()
    one.close()


@pytest.fixture
def ends(readers: Readers) -> Iterator[Ends]:
    one = Ends(readers)
    yield one
    one.close()


def read_messages(data: socket.socket, count: int, bytes_at_once: int = 1 << 20) -> list[tuple[int, int, int]]:
    """Kind, key and length of the next so many."""
    data.settimeout(PATIENCE_S)
    messages = wire.Messages()
    found: list[tuple[int, int, int]] = []
    while len(found) < count:
        room = messages.room()
        received = data.recv_into(room[:bytes_at_once])
        assert received
        messages.received(received)
        found += [(kind, key, len(payload)) for kind, key, payload in messages]
    return found


def test_what_the_child_says_comes_in_order(ends: Ends) -> None:
    for number in range(500):
        ends.say(number, 1 + 500 * (number % 50 == 0))
    eventually(lambda: len(ends.came) == 500, "all came")
    assert ends.numbers() == list(range(500))
    eventually(lambda: ends.settled, "it settled")


def test_a_child_that_does_not_read_holds_nobody_up(ends: Ends) -> None:
    """Many threads write what the socket cannot take; all of it arrives, each thread's in its order."""
    threads = 4
    each = 60

    def write(thread: int) -> None:
        for number in range(each):
            key = thread * 1000 + number
            ends.server.queue([wire.message(wire.CANCEL, key, b"y" * (100 if number % 7 else 200_000))])
            ends.server.flush()

    running = [threading.Thread(target=write, args=(n,)) for n in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join(PATIENCE_S)
    ends.say(1)
    eventually(lambda: ends.came, "the child is still heard")
    keys = [key for _, key, _ in read_messages(ends.child_data, threads * each)]
    for thread in range(threads):
        own = [key for key in keys if key // 1000 == thread]
        assert own == [thread * 1000 + number for number in range(each)]


def test_no_wake_up_of_the_writer_is_lost(ends: Ends) -> None:
    """The reader takes little by little, so that the outbox runs empty and full again, while others write on."""
    total = 400
    size = 30_000

    def write() -> None:
        for number in range(total):
            ends.server.queue([wire.message(wire.CANCEL, number, b"y" * size)])
            ends.server.flush()
            if number % 9 == 0:
                time.sleep(0.0005)

    writer = threading.Thread(target=write)
    writer.start()
    messages = read_messages(ends.child_data, total, bytes_at_once=70_000)
    writer.join(PATIENCE_S)
    assert [key for _, key, _ in messages] == list(range(total))


def test_blocks_are_freed_behind_the_message_that_names_them(ends: Ends) -> None:
    ends.server._exchange._freed.append((0, 64))
    ends.server.queue([wire.message(wire.RESULT, 5)])
    ends.server.flush()
    assert [kind for kind, _, _ in read_messages(ends.child_data, 2)] == [wire.RESULT, wire.FREE]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff" * 64,
        wire.message(77, 1) + b"\xff" * 32,
        wire.message(wire.FREE, 0, b"123"),
        wire.message(wire.FREE, 0, b"\1" * 16),
        wire.message(wire.RETRACT, 3),
        wire.HEADER.pack(1 << 20, 99, 1),
    ],
)
def test_nonsense_is_said_once_and_reading_ends(ends: Ends, nonsense: bytes) -> None:
    def refuse(kind: int, key: int, payload: memoryview) -> None:
        if kind == 77:
            raise KeyError("a bug of ours that it has led to")

    ends.on_message = refuse
    ends.say(1)
    ends.child_data.sendall(nonsense)
    eventually(lambda: ends.broken, "it was noticed")
    ends.child_data.sendall(wire.message(wire.RELEASED, 2))
    ends.server.read_rest()
    assert ends.numbers()[0] == 1
    assert 2 not in ends.numbers()
    assert len(ends.broken) == 1
    ends.server.queue([wire.message(wire.CANCEL, 1)])
    ends.server.flush()  # to nobody, and without an error


def test_what_a_child_said_before_its_end_is_read_though_nothing_can_be_sent(readers: Readers) -> None:
    ends = Ends(readers)
    readers.unwatch(ends.data.fileno())  # nobody reads for the moment
    ends.say(1)
    ends.say(2)
    ends.child_data.close()
    for _ in range(3):
        ends.server.queue([wire.message(wire.CANCEL, 9)])
        ends.server.flush()
    ends.server.read_rest()
    assert ends.numbers() == [1, 2]
    assert ends.lost == 1
    ends.close()
    assert ends.data.fileno() == -1
    assert ends.regions.fileno() == -1


def test_the_end_of_a_child_is_noticed_once(ends: Ends) -> None:
    ends.say(1)
    ends.child_data.close()
    eventually(lambda: ends.lost, "it was noticed")
    ends.server.read_rest()
    assert (ends.lost, ends.numbers(), ends.broken) == (1, [1], [])


# ---- an event loop that reads


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_is_lent_and_taken_back_while_messages_flow(readers: Readers, make_loop: Any) -> None:
    """Nothing is lost, doubled or out of order, and what is closed meanwhile is closed."""
    channels = [Ends(readers) for _ in range(3)]
    fleeting: list[Ends] = []
    done = threading.Event()
    sent = [0, 0, 0]

    def talk(index: int) -> None:
        while not done.is_set() and sent[index] < 200_000:
            channels[index].say(sent[index], 10 if sent[index] % 10 else 5000)
            sent[index] += 1

    def come_and_go() -> None:
        while not done.is_set():
            one = Ends(readers)
            one.say(0)
            one.server.queue([wire.message(wire.CANCEL, 1, b"z" * 600_000)])
            one.server.flush()  # more than the socket takes: it is watched for writing, too
            fleeting.append(one)
            one.close()
            time.sleep(0.001)

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(3)]
    threads.append(threading.Thread(target=come_and_go))
    for one in threads:
        one.start()
    try:
        for _ in range(6):
            loop = make_loop()

            async def serve(loop: Any = loop) -> None:
                assert readers.lend(loop)
                assert not readers.lend(loop)
                for _ in range(5):
                    before = len(channels[0].came)
                    while len(channels[0].came) < before + 3 and not done.is_set():
                        await asyncio.sleep(0.001)
                readers.take_back(loop)
                readers.take_back(loop)

            loop.run_until_complete(asyncio.wait_for(serve(), PATIENCE_S))
            loop.close()
    finally:
        done.set()
        for one in threads:
            one.join(PATIENCE_S)
    eventually(lambda: [len(one.came) for one in channels] == sent, "all came")
    for index, ends in enumerate(channels):
        assert ends.numbers() == list(range(sent[index]))
        ends.close()
    eventually(lambda: all(one.data.fileno() == -1 for one in fleeting), "all are closed")
    assert not readers._watched
    assert not readers._going


def test_a_loop_that_was_closed_without_being_taken_back(readers: Readers) -> None:
    ends = Ends(readers)
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        assert readers.lend(loop)
        ends.say(1)
        while not ends.came:
            await asyncio.sleep(0.001)

    loop.run_until_complete(serve())
    loop.close()
    ends.close()
    assert ends.data.fileno() == -1


def test_requests_made_on_the_loop_go_out_with_its_next_turn(readers: Readers) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        assert readers.lend(loop)
        assert readers.defer() == loop.call_soon
        elsewhere = await asyncio.to_thread(readers.defer)
        assert elsewhere != loop.call_soon
        readers.take_back(loop)
        assert readers.defer() != loop.call_soon

    asyncio.run(serve())


# ---- the child's end


class ChildEnd:
    """A channel of a child, whose server is the test."""

    def __init__(self) -> None:
        self.data, theirs = socket.socketpair()
        self.regions, their_regions = socket.socketpair()
        self.came: list[int] = []
        self.by: set[int] = set()
        self.exchange = exchange(their_regions)
        self.channel = ChildChannel(theirs, self.exchange, self._handle)
        self._theirs = theirs

    def _handle(self, kind: int, key: int, payload: memoryview) -> None:
        self.came.append(key)
        self.by.add(threading.get_ident())

    def close(self) -> None:
        self.data.close()
        self.regions.close()
        self._theirs.close()
        self.exchange.close()


@pytest.fixture
def child() -> Iterator[ChildEnd]:
    one = ChildEnd()
    yield one
    one.close()


def test_threads_that_wait_read_for_each_other(child: ChildEnd) -> None:
    """Each of many threads waits for answers of its own; whoever is at it reads them all."""
    total = 300
    threads = 5
    wrong: list[str] = []

    def wait(thread: int) -> None:
        for number in range(thread, total, threads):
            child.channel.queue([wire.message(wire.ASK, number)])
            child.channel.flush()
            if not child.channel.wait(lambda number=number: number in child.came, PATIENCE_S):  # type: ignore[misc]
                wrong.append(f"{number} did not come")

    def serve() -> None:
        messages = wire.Messages()
        answered = 0
        while answered < total:
            messages.received(child.data.recv_into(messages.room()))
            for _, key, _ in messages:
                child.data.sendall(wire.message(wire.REPLY, key))
                answered += 1

    running = [threading.Thread(target=wait, args=(n,)) for n in range(threads)] + [threading.Thread(target=serve)]
    for one in running:
        one.start()
    for one in running:
        one.join(PATIENCE_S)
    assert not wrong
    assert sorted(child.came) == list(range(total))


def test_who_waits_too_long_or_for_nobody_is_told(child: ChildEnd) -> None:
    assert child.channel.wait(lambda: False, 0.01) is False
    assert child.channel.wait(lambda: True, 0) is True
    child.data.sendall(wire.message(wire.REPLY, 1))
    child.data.close()
    assert child.channel.wait(lambda: bool(child.came))
    with pytest.raises(ChannelClosedError):
        child.channel.wait(lambda: False)
    child.channel.queue([wire.message(wire.TELL, 1)])
    child.channel.flush()
    child.channel.look(at_once=True)


def test_looking_does_not_wait(child: ChildEnd) -> None:
    child.channel.look(at_once=True)
    child.data.sendall(wire.message(wire.CANCEL, 1) + wire.message(wire.CANCEL, 2))
    child.channel.look()  # too soon
    child.channel.look(at_once=True)
    assert child.came == [1, 2]


def test_the_place_of_a_part_that_comes_late(child: ChildEnd) -> None:
    channel = child.channel
    channel.queue([wire.message(wire.RESPONSE, 1)])
    place = channel.mark()
    channel.queue([wire.message(wire.RESPONSE, 2), b""])
    channel.queue_at(place, wire.pack_released(3, 5))
    channel.flush()
    place = channel.mark()
    channel.queue([wire.message(wire.RESPONSE, 4)])
    channel.flush()
    channel.queue_at(place, wire.pack_released(5, 5))
    channel.flush()
    assert [key for _, key, _ in read_messages(child.data, 5)] == [1, 3, 2, 4, 5]


def test_messages_of_many_threads_are_not_mixed(child: ChildEnd) -> None:
    def write(thread: int) -> None:
        for number in range(50):
            parts = [wire.HEADER.pack(200_004, wire.RESPONSE, thread * 100 + number), b"abcd", b"x" * 200_000]
            child.channel.queue(parts)
            child.channel.flush()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for one in threads:
        one.start()
    keys = [key for _, key, _ in read_messages(child.data, 150)]
    for one in threads:
        one.join()
    assert sorted(keys) == sorted(thread * 100 + number for thread in range(3) for number in range(50))
    for thread in range(3):
        assert [key for key in keys if key // 100 == thread] == [thread * 100 + n for n in range(50)]


def test_the_selector_of_a_loop_may_watch_it(child: ChildEnd) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(child.channel.fileno(), selectors.EVENT_READ)
        child.data.sendall(wire.message(wire.CANCEL, 1))
        assert selector.select(PATIENCE_S)
        child.channel.look(at_once=True)
        assert not selector.select(0)
    assert child.came == [1]


def test_memory_that_its_owner_took_away_costs_nobody_else_the_channel(ends: Ends, tmp_path: Path) -> None:
    """The system refuses to send it; zeros go in its place, and what follows arrives."""
    guarded = pytest.importorskip("atoll.frontends.shared_memory._guarded", reason="needs a C compiler")
    size = wire.INLINE_BYTES
    file = tmp_path / "region"
    file.write_bytes(b"x" * 3 * size)
    with file.open("r+b") as opened:
        mapping = guarded.GuardedMapping(opened.fileno(), 0, 3 * size)
    view = memoryview(mapping).toreadonly()
    os.truncate(file, size)
    head = wire.HEADER.pack(3 * size, wire.RESPONSE, 1)
    ends.server.queue([head, *(view[start : start + size] for start in range(0, 3 * size, size))])
    ends.server.flush()
    ends.server.queue([wire.message(wire.RESPONSE, 2, b"more")])
    ends.server.flush()
    assert read_messages(ends.child_data, 2) == [(wire.RESPONSE, 1, 3 * size), (wire.RESPONSE, 2, 4)]
    assert mapping.lost
