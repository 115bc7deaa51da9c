"""What a child process offers the model that it hosts: where responses go, and what it may ask of the server.

Imported by child processes: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from importlib import import_module
from itertools import count
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from atoll.errors import BY_CODE, AtollError, ConfigError, UnavailableError
from atoll.isolation import wire
from atoll.isolation.child_channel import ChannelClosedError, ChildChannel
from atoll.isolation.child_control import say_who_leaves
from atoll.isolation.exchange import Exchange

if TYPE_CHECKING:
    import socket
    from asyncio import AbstractEventLoop
    from collections import deque
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from atoll.isolation.wire import Facts, Packet
    from atoll.tensor import Tensor

    Received = Callable[[Packet | None, bool], None]

Request = tuple[int, "Packet"]


class Hosted(Protocol):
    """A model in a child process."""

    asynchronous: bool

    def facts(self) -> Facts:
        """What the server should know of it."""

    def execute(self, requests: list[Request]) -> None:
        """Run a batch; the answers go through the service, now or later. Never raises."""

    async def execute_async(self, requests: list[Request]) -> None:
        """The same, where `asynchronous`."""

    def cancel(self, request: int) -> None:
        """The client has withdrawn that request."""

    def is_ready(self) -> bool:
        """What the model itself says. Never raises."""

    async def is_ready_async(self) -> bool:
        """The same, where `asynchronous`."""

    def close(self) -> None:
        """The process is about to end. Never raises."""


class Service:
    """Usable from any thread of the model."""

    def __init__(self, data: socket.socket, regions: socket.socket, settings: Mapping[str, Any]):
        self._exchange = Exchange(
            regions,
            first_bytes=settings["first_bytes"],
            growth_bytes=settings["growth_bytes"],
            prefix=settings["prefix"],
            on_retract=self._retract,
            keeps=True,
        )
        self.channel = ChildChannel(data, self._exchange, self._handle)
        self._numbers = count(1)
        self._calls: dict[int, Received] = {}
        self._main = threading.get_ident()
        self._loop: AbstractEventLoop | None = None
        self._loops: WeakKeyDictionary[AbstractEventLoop, list[int]] = WeakKeyDictionary()  # that read, how often
        self.serves_on_loop = False
        self.in_batch = False  # the main thread executes, and sends what was answered when it is done
        self.handle_more: Callable[[int, int, memoryview], None] = lambda kind, key, payload: None
        self.on_log_verbose: Callable[[bool], None] = lambda verbose: None

    # ---- answers

    def respond(
        self,
        request: int,
        tensors: Sequence[Tensor],
        facts: Mapping[str, Any] = wire.NOTHING,
        final: bool = True,
    ) -> None:
        """A response; it goes with the next `flush`."""
        parts = wire.pack(wire.RESPONSE, request, self._exchange, tensors, facts, flags=wire.FINAL if final else 0)
        if self.in_batch and len(parts) > 1:  # the next batch may be executed, and write there, before these are sent
            parts = [bytes(part) if type(part) is memoryview else part for part in parts]
        self.channel.queue(parts)

    def fail(
        self, request: int, error: AtollError, final: bool = True, facts: Mapping[str, Any] = wire.NOTHING
    ) -> None:
        """The error in the place of a response."""
        self.respond(request, (), {**facts, "error": str(error), "code": error.code.name}, final)

    def probed(self, question: int, ready: bool) -> None:
        """Whether the model says that it is ready."""
        self.channel.queue(wire.pack(wire.PROBED, question, None, facts={"ready": ready}))
        self.channel.flush()

    def flush_unless_in_batch(self) -> None:
        """Send what has been said, unless the main thread is about to do so anyway."""
        if not self.in_batch or threading.get_ident() != self._main:
            self.channel.flush()

    def finish(self, request: int, facts: Mapping[str, Any] = wire.NOTHING) -> None:
        """No further response comes."""
        self.channel.queue(wire.pack(wire.RESPONSE, request, None, facts=facts, flags=wire.FINAL | wire.EMPTY))

    def reschedule(self, request: int, facts: Mapping[str, Any] = wire.NOTHING) -> None:
        """The server is to queue the request again."""
        self.channel.queue(wire.pack(wire.RESCHEDULE, request, None, facts=facts))

    def look(self) -> None:
        """Read what has come, if nobody else is at it."""
        self.channel.look()

    def settle(self) -> None:
        """The model may do as it likes with its tensors from now on."""
        self._exchange.settle()

    def flush(self) -> None:
        """Send what has been said."""
        self.channel.flush()

    # ---- questions

    def infer(self, tensors: Sequence[Tensor], facts: Mapping[str, Any], id: str, receive: Received) -> int:
        """Run a request on another model; the call's number. `receive(packet, final)` hears each response, on whichever
        thread reads.
        """
        return self._call(wire.INFER, tensors, facts, id, receive)

    def cancel_call(self, call: int) -> None:
        """Nobody waits for its responses."""
        if call in self._calls:
            self.channel.queue([wire.message(wire.CANCEL_CALL, call)])
            self.channel.flush()

    def ask(self, question: Mapping[str, Any], tensors: Sequence[Tensor] = ()) -> Facts:
        """The server's answer to a question. Raises the AtollError with which it answers."""
        answers: list[Packet | None] = []
        self._call(wire.ASK, tensors, question, "", lambda packet, final: answers.append(packet))
        self.wait(lambda: bool(answers))
        packet = answers[0]
        facts = packet.facts if packet is not None else wire.NOTHING
        error = error_of(facts)
        if error is not None:
            raise error
        return facts

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Say something to which there is no answer. Raises nothing."""
        self.channel.queue(wire.pack(wire.TELL, 0, None, facts=facts))
        self.channel.flush()

    def wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Read until `done()`; False when `timeout` seconds were not enough. Raises UnavailableError where the server
        is gone.
        """
        try:
            return self.channel.wait(done, timeout)
        except ChannelClosedError:
            raise UnavailableError("the server is gone") from None

    def _call(self, kind: int, tensors: Sequence[Tensor], facts: Mapping[str, Any], id: str, receive: Received) -> int:
        number = next(self._numbers)
        parts = wire.pack(kind, number, self._exchange, tensors, facts, id)
        self._calls[number] = receive
        self.channel.queue(parts)
        self.channel.flush()
        return number

    # ---- event loops

    @property
    def loop(self) -> AbstractEventLoop:
        """The main thread's event loop. It runs while the main thread executes batches that overlap, or waits for a
        coroutine.
        """
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
        return self._loop

    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Its result, or what it raises, once it has run on the main thread's loop. The caller waits."""
        loop = self.loop
        if threading.get_ident() == self._main:
            return loop.run_until_complete(coroutine)
        import asyncio

        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def read_on(self, loop: AbstractEventLoop) -> Callable[[], None]:
        """Let this loop, which runs in the calling thread, read what comes until the returned function is called, from
        any thread.
        """
        readers = self._loops.setdefault(loop, [0])
        readers[0] += 1
        if readers[0] == 1 and not (loop is self._loop and self.serves_on_loop):
            loop.add_reader(self.channel.fileno(), self.channel.look, True)

        def leave() -> None:
            readers[0] -= 1
            if not readers[0] and not (loop is self._loop and self.serves_on_loop):
                loop.remove_reader(self.channel.fileno())

        def stop() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(leave)

        return stop

    # ---- what comes

    def parse_batch(self, payload: memoryview) -> list[Request]:
        """EXECUTE's requests."""
        return wire.parse_batch(payload, self._exchange)

    def _handle(self, kind: int, key: int, payload: memoryview) -> None:
        if kind in (wire.RESULT, wire.REPLY):
            packet = wire.parse(payload, self._exchange)
            final = bool(packet.flags & wire.FINAL)
            receive = self._calls.pop(key, None) if final else self._calls.get(key)
            if receive is not None:
                receive(None if packet.flags & wire.EMPTY else packet, final)
        elif kind == wire.LOG_VERBOSE:
            self.on_log_verbose(bool(key))
        elif kind == wire.TIDY:
            self._exchange.tidy()
            self.channel.flush()
        else:
            self.handle_more(kind, key, payload)

    def _retract(self, region: int) -> None:
        self.channel.retract(region)


def error_of(facts: Mapping[str, Any]) -> AtollError | None:
    """The error that a packet's facts name."""
    text = facts.get("error")
    if text is None:
        return None
    kind = BY_CODE.get(facts.get("code", ""), AtollError)
    return kind(text)


def host(setup: Mapping[str, Any], data: socket.socket, regions: socket.socket) -> None:
    """The life of a child that hosts a model: make it, say that it is ready, or why not, and serve."""
    say_who_leaves()
    service = Service(data, regions, setup["memory"])
    module, _, attribute = setup["make"].partition(":")
    try:
        hosted = getattr(import_module(module), attribute)(setup, service)
    except AtollError as error:
        service.channel.queue(
            [wire.pack_failed(str(error), code=error.code.name, config=isinstance(error, ConfigError))]
        )
        service.flush()
        return
    serve(hosted, service)


def prepare(setup: Mapping[str, Any]) -> None:
    """What the processes that are forked from this one are to share."""
    module = import_module(setup["make"].partition(":")[0])
    if hasattr(module, "prepare"):
        module.prepare(setup)


def serve(hosted: Hosted, service: Service) -> None:
    """Execute batches until the server says that it is enough. The life of the child's main thread."""
    service.channel.queue(wire.pack(wire.READY, 0, None, facts=hosted.facts()))
    service.flush()
    if hosted.asynchronous:
        from atoll.isolation.overlapping import serve_overlapping

        serve_overlapping(hosted, service)
    else:
        _serve_in_order(hosted, service)
    hosted.close()
    service.flush()


SHORT_NS = 300_000  # an answer may wait for the next one if that will not take longer
PROOF = 8  # so many short executions in a row


def _serve_in_order(hosted: Hosted, service: Service) -> None:
    from collections import deque

    batches: deque[tuple[int, list[Request] | None]] = deque()  # None: not a batch, but a question
    stopping: list[bool] = []

    def handle(kind: int, key: int, payload: memoryview) -> None:
        if kind == wire.EXECUTE:
            batches.append((key, service.parse_batch(payload)))
        elif kind == wire.PROBE:
            batches.append((key, None))
        elif kind == wire.CANCEL:
            hosted.cancel(key)
        elif kind == wire.STOP:
            stopping.append(True)

    service.handle_more = handle
    channel = service.channel
    short = 0
    unsent_ns = 0  # since when an answer waits to be sent
    while True:
        if not batches:
            try:
                channel.wait(lambda: bool(batches or stopping))
            except ChannelClosedError:
                return
            if not batches:
                return
        number, requests = batches.popleft()
        if requests is None:
            service.probed(number, hosted.is_ready())
            continue
        begin_ns = monotonic_ns()
        place = channel.mark()
        service.in_batch = True
        hosted.execute(requests)
        service.in_batch = False
        del requests  # what the model has not kept is free again
        service.settle()
        end_ns = monotonic_ns()
        channel.queue_at(place, wire.pack_released(number, end_ns - begin_ns))
        short = short + 1 if end_ns - begin_ns <= SHORT_NS else 0
        if batches and short >= PROOF:
            unsent_ns = unsent_ns or end_ns
            if end_ns - unsent_ns < SHORT_NS:
                continue  # the next answer goes with it
        unsent_ns = 0
        channel.flush()
