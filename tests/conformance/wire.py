"""HTTP/1.1 as bytes on a socket: the tests see what a server sends, and send what no client library would."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Exchange:
    """An answer. `status` 0: the connection was closed without one. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def ask(
        cls,
        host: str,
        port: int,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> "Exchange":
        """One request with a connection of its own."""
        with socket.create_connection((host, port), timeout_s) as connection:
            try:
                connection.sendall(request_bytes(method, path, body, headers))
                return cls.read(connection)
            except ConnectionError:
                return cls(0, {}, b"")

    @classmethod
    def read(cls, connection: socket.socket, received: bytearray | None = None) -> "Exchange":
        """The next answer on a connection; interim (1xx) answers are skipped.

        `received`: where more than one answer is to come, what was received beyond the last one, and is again.
        """
        data = bytearray() if received is None else received
        while True:
            head, separator, rest = bytes(data).partition(b"\r\n\r\n")
            if separator:
                status, headers = _head(head)
                if status >= 200:
                    if headers.get("transfer-encoding") == "chunked":
                        whole = _from_chunks(rest)
                        if whole is not None:
                            body, end = whole
                            data[:] = rest[end:]
                            return cls(status, headers, body)
                        more = connection.recv(1 << 16)
                        if not more:
                            return cls(0, {}, bytes(data))
                        data += more
                        continue
                    length = int(headers.get("content-length", "0"))
                    if len(rest) >= length:
                        data[:] = rest[length:]
                        return cls(status, headers, rest[:length])
                else:
                    data[:] = rest
                    continue
            more = connection.recv(1 << 16)
            if not more:
                return cls(0, {}, bytes(data))
            data += more

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of an error document."""
        document = self.json()
        assert list(document) == ["error"], document
        return str(document["error"])


def request_bytes(method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """A request with Host, the given headers and, where a body is given, its length."""
    lines = {"Host": "localhost", **(headers or {})}
    if body is not None and not {"Content-Length", "Transfer-Encoding"} & set(lines):
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


def chunked(body: bytes, size: int) -> bytes:
    """A body in chunks of `size` bytes."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _from_chunks(data: bytes) -> tuple[bytes, int] | None:
    """The body and where it ends; None where it is not all there."""
    body, position = b"", 0
    while True:
        line_end = data.find(b"\r\n", position)
        if line_end < 0:
            return None
        size = int(data[position:line_end], 16)
        position = line_end + 2 + size + 2
        if len(data) < position:
            return None
        if not size:
            return body, position
        body += data[position - 2 - size : position - 2]


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}
