"""A server's frontends in somebody else's process: a script, a notebook, a test. They have a thread of their own."""

import asyncio
import atexit
import logging
import signal
import threading
from time import monotonic
from types import TracebackType
from typing import Any, Self

import uvloop

from atoll.config.problems import suggestion
from atoll.errors import InvalidArgumentError
from atoll.frontends.chosen import Frontend, chosen_frontends, start_all
from atoll.frontends.context import FrontendContext
from atoll.frontends.listening.address import shown
from atoll.options import OPTIONS, Option
from atoll.server import Server

logger = logging.getLogger(__name__)

_SECTIONS = ("Access", "HTTP", "gRPC", "Metrics", "Access log", "Shared memory")
_LOCAL = {"http_address": "127.0.0.1", "grpc_address": "127.0.0.1"}  # metrics listen where HTTP does
_EXIT_S = 5.0  # that requests in flight get where the program ends without a word


def listen(server: Server, **options: Any) -> "Listener":
    """Serve over HTTP and gRPC, and the metrics, while the program goes on. The server is started if it is not.

    `options` are those of `atoll serve` that concern the frontends, with `_` for `-`, such as http_port=0. They listen
    on 127.0.0.1 unless http_address and grpc_address say something else.

    Raises OSError naming an address that cannot be listened on, InvalidArgumentError for an option that is none.
    """
    return Listener(server, _values(options))


class Listener:
    """Listens from the moment it is made until `close`. Thread-safe."""

    def __init__(self, server: Server, values: dict[str, Any]):
        self._server = server
        self._owns_server = not server.live()
        self._frontends: dict[str, Frontend] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._deadline = 0.0
        self._failure: BaseException | None = None
        self._up = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        if self._owns_server:
            server.start()
        self._thread = threading.Thread(target=self._run, args=(values,), name="listen", daemon=True)
        self._thread.start()
        try:
            self._up.wait()
            if self._failure is not None:
                raise self._failure
        except BaseException:
            self.close(0)
            raise
        atexit.register(self.close, _EXIT_S)

    # ---- run

    @property
    def http_port(self) -> int:
        """The port of HTTP, 0 where it is off or on a Unix socket."""
        return self._port("HTTPService")

    @property
    def grpc_port(self) -> int:
        """The port of gRPC, 0 where it is off or on a Unix socket."""
        return self._port("GRPCInferenceService")

    @property
    def metrics_port(self) -> int:
        """The port of the metrics, 0 where they are off."""
        return self._port("Metrics Service")

    def _port(self, name: str) -> int:
        frontend = self._frontends.get(name)
        return frontend.addresses[0][1] if frontend is not None else 0

    def wait(self) -> None:
        """Block until Ctrl-C, or SIGTERM on the main thread, or until another thread closes it; then `close`."""
        on_main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, signal.default_int_handler) if on_main else None
        try:
            self._thread.join()
        except KeyboardInterrupt:
            logger.info("signal received: requests in flight are answered")
        finally:
            if on_main:
                signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
            self.close()

    def _run(self, values: dict[str, Any]) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(values))
        except BaseException as error:
            if self._up.is_set():
                logger.exception("the frontends ended")
            self._failure = error
        finally:
            self._up.set()

    async def _serve(self, values: dict[str, Any]) -> None:
        self._closing = closing = asyncio.Event()
        context = FrontendContext.from_values(self._server, values)
        frontends: dict[str, Frontend] = {}
        self._loop = loop = asyncio.get_running_loop()
        try:
            frontends = chosen_frontends(context, values)
            await start_all(frontends, context)
            self._frontends = frontends
            self._server.lend_loop(loop)
            self._up.set()
            await closing.wait()
            left_s = max(self._deadline - monotonic(), 0.1)
            await asyncio.gather(*(frontend.drain(left_s) for frontend in frontends.values()))
        finally:
            for frontend in reversed(frontends.values()):
                await frontend.stop()
            self._server.take_back_loop(loop)
            context.close()

    # ---- stop

    def close(self, timeout: float = 30.0) -> None:
        """Take no new requests, and answer those that have come, for at most `timeout` seconds. The server is stopped
        if `listen` started it, and otherwise goes on. Calling it again waits for the same.
        """
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            atexit.unregister(self.close)
            self._deadline = monotonic() + timeout
            loop, closing = self._loop, self._closing
            if loop is not None and closing is not None:
                try:
                    loop.call_soon_threadsafe(closing.set)
                except RuntimeError:
                    logger.debug("the frontends' event loop is closed already")
        self._thread.join(timeout + 5)
        if first and self._owns_server:
            self._server.stop(max(self._deadline - monotonic(), 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return "Listener(closed)"
        places = (
            f"{name} at {shown(host, port)}" for name, one in self._frontends.items() for host, port in one.addresses
        )
        return f"Listener({', '.join(places)})"


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """Every option of the frontends, by field name."""
    known = {one.field: one for one in OPTIONS if one.section in _SECTIONS}
    for name, value in given.items():
        if name not in known:
            near = suggestion(name, known)
            hint = f"; did you mean '{near}'?" if near else "; it takes those of HTTP, gRPC and metrics"
            raise InvalidArgumentError(f"listen: there is no option '{name}'{hint}")
        _check(known[name], value)
    return {**{name: one.default for name, one in known.items()}, **_LOCAL, **given}


def _check(option: Option, value: Any) -> None:
    kinds = (int, float) if option.kind is float else (option.kind,)
    fits = type(value) in kinds and (not option.choices or value in option.choices)
    if fits and option.minimum is not None:
        fits = value >= option.minimum
    if fits and option.maximum is not None:
        fits = value <= option.maximum
    if not fits:
        expected = " or ".join(option.choices) or option.kind.__name__
        bounds = [
            f"{word} {bound}" for word, bound in (("from", option.minimum), ("to", option.maximum)) if bound is not None
        ]
        raise InvalidArgumentError(f"listen: {option.field}={value!r}: expected {' '.join([expected, *bounds])}")
