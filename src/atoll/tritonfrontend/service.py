"""One frontend of a server, between its start and its stop."""

import threading
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from atoll.errors import InvalidArgumentError, UnavailableError
from atoll.listener import Listener, listen
from atoll.tritonserver.server import Server
from atoll.tritonserver.unpicklable import Unpicklable

ALLOW = {"allow_http": False, "allow_grpc": False, "allow_metrics": False}


class ServiceOptions(Protocol):
    """What a frontend can be told."""

    def listen_options(self) -> dict[str, Any]:
        """The keyword arguments of `atoll.listen`."""


class Service(Unpicklable):
    """Listens from `start` to `stop`, on a thread of its own. Thread-safe; may be started again.

    The server must be started, and outlive it.
    """

    Options: ClassVar[Any]
    name: ClassVar[str]

    def __init__(self, server: Server, options: Any = None):
        if not isinstance(server, Server):
            raise InvalidArgumentError(f"{self.name}: server is a '{type(server).__name__}', not a tritonserver.Server")
        if options is not None and not isinstance(options, self.Options):
            raise InvalidArgumentError(
                f"{self.name}: options are a '{type(options).__name__}', not {self.name}.Options"
            )
        self.server = server
        self.options: ServiceOptions = self.Options() if options is None else options
        self._lock = threading.Lock()
        self._listener: Listener | None = None

    # ---- start

    def start(self) -> None:
        """Listen. Raises InvalidArgumentError where it does already, or the server is not started, and UnavailableError
        naming an address that cannot be listened on.
        """
        with self._lock:
            if self._listener is not None:
                raise InvalidArgumentError(f"{self.name} is started already")
            options = {**ALLOW, **self._listen_options()}
            try:
                self._listener = listen(self.server.engine, **options)
            except OSError as error:
                raise UnavailableError(f"{self.name} cannot listen: {error}") from error

    def _listen_options(self) -> dict[str, Any]:
        return self.options.listen_options()

    def __enter__(self) -> Self:
        self.start()
        return self

    # ---- run

    @property
    def port(self) -> int:
        """On which it listens, which the system chose where the option is 0; 0 while it does not listen."""
        listener = self._listener
        return 0 if listener is None else listener.http_port or listener.grpc_port or listener.metrics_port

    # ---- stop

    def stop(self) -> None:
        """Take no new requests, answer those that have come, and close. Does nothing where it is not started."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
