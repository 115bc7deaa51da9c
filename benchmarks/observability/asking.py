"""Asks a server for things beside the load that is measured: a page again and again, and every model once a second."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Self

from benchmarks.bodies import http_infer_request, tensor_bytes
from benchmarks.load import LoadError
from benchmarks.observability.plan import SMALL_INPUTS, Page
from benchmarks.servers import RunningServer

ANSWER_SECONDS = 60.0
SWEEP_SECONDS = 1.0


@dataclass(frozen=True)
class Fetched:
    """One page: `body` as it travelled; `ms` from the request's first byte until the page's last."""

    body: bytes
    ms: float


class PageReader:
    """A kept-alive connection on which one page is asked for, as Prometheus and browsers do."""

    def __init__(self, server: RunningServer, page: Page) -> None:
        port = server.metrics_port if page.metrics_port else server.http_port
        self._page = page
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)

    def read(self) -> Fetched:
        """Raises LoadError for anything but the page."""
        began = time.monotonic()
        try:
            self._connection.request("GET", self._page.path, headers=self._headers())
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise LoadError(f"{self._page.path} was not answered: {error!r}") from error
        elapsed = time.monotonic() - began
        if answer.status != http.client.OK:
            text = body[:200].decode(errors="replace")
            raise LoadError(f"{self._page.path} was answered with {answer.status}: {text}")
        encoding = answer.headers.get("Content-Encoding", "identity")
        if self._page.gzip != (encoding == "gzip"):
            wanted = "gzip" if self._page.gzip else "identity"
            raise LoadError(f"{self._page.path} came with the encoding {encoding}, and {wanted} was asked for")
        return Fetched(body, elapsed * 1000)

    def _headers(self) -> dict[str, str]:
        return {"Accept-Encoding": "gzip" if self._page.gzip else "identity"}

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Poll:
    """Asks for a page at once and then in its interval, on a thread of its own. `ms`: how long each one took."""

    def __init__(self, server: RunningServer, page: Page) -> None:
        self._reader = PageReader(server, page)
        self._every_s = page.every_s
        self._stop = threading.Event()
        self._failure: LoadError | None = None
        self.ms: list[float] = []
        self._thread = threading.Thread(target=self._run, name="poll", daemon=True)

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            due += self._every_s
            try:
                self.ms.append(self._reader.read().ms)
            except LoadError as error:
                self._failure = error
                return
            if self._stop.wait(max(due - time.monotonic(), 0)):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()

    def check(self) -> None:
        """Raises LoadError where a page was not answered: what was measured is then no measurement of it."""
        if self._failure is not None:
            raise self._failure


class Sweep:
    """Asks each of many small models once, over one connection."""

    def __init__(self, server: RunningServer, models: Sequence[str]) -> None:
        headers, body = http_infer_request(SMALL_INPUTS, [tensor_bytes(tensor, None) for tensor in SMALL_INPUTS])
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        lines += f"Host: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        self._requests = [f"POST /v2/models/{name}/infer HTTP/1.1\r\n{lines}".encode() + body for name in models]
        self._socket = socket.create_connection(("127.0.0.1", server.http_port), ANSWER_SECONDS)
        self._answers = self._socket.makefile("rb")

    def run(self, stop: threading.Event | None = None) -> None:
        """Raises LoadError where a model does not answer."""
        for request in self._requests:
            if stop is not None and stop.is_set():
                return
            try:
                self._socket.sendall(request)
                status = read_answer(self._answers)
            except (OSError, ValueError) as error:
                raise LoadError(f"a model of many was not answered: {error!r}") from error
            if status != http.client.OK:
                raise LoadError(f"a model of many was answered with status {status}: see the server's log")

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


def read_answer(stream: BinaryIO) -> int:
    """Reads one HTTP answer with a length to its end; returns its status. Raises ValueError for anything else."""
    first = stream.readline()
    if not first.startswith(b"HTTP/1.1 "):
        raise ValueError(f"this is no HTTP answer: {first[:100]!r}")
    length = -1
    while (line := stream.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if length < 0:
        raise ValueError("the answer has no length")
    if len(stream.read(length)) < length:
        raise ValueError("the answer is cut off")
    return int(first.split()[1])


@contextlib.contextmanager
def sweeping(server: RunningServer, models: Sequence[str]) -> Iterator[None]:
    """Asks each of the models once a second, or as fast as they answer, until the block ends.

    Raises LoadError at the end where one did not answer.
    """
    sweep, stop = Sweep(server, models), threading.Event()
    failures: list[LoadError] = []

    def run() -> None:
        due = time.monotonic()
        while not stop.wait(max(due - time.monotonic(), 0)):
            due += SWEEP_SECONDS
            try:
                sweep.run(stop)
            except LoadError as error:
                failures.append(error)
                return

    thread = threading.Thread(target=run, name="sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sweep.close()
    if failures:
        raise failures[0]
