"""A small object store in memory that speaks the XML API which S3 and Google Cloud Storage share, and fails on demand.

It does what real services do (listings in pages with a delimiter, ETags, If-Match, ranges), and lets a test decide
what becomes of a request: a status, silence, a body that breaks off.
"""

import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Fault:
    """What happens instead of an answer. `after`: so many bytes of the body are sent, then the connection is closed."""

    status: int = 0
    body: str = ""
    after: int | None = None
    silence: threading.Event | None = None


@dataclass
class XmlStore:
    """One bucket, "models". `decide` is asked about each request; `asked` is all that came."""

    objects: dict[str, bytes] = field(default_factory=dict)
    decide: Callable[[Asked], Fault | None] = lambda asked: None
    asked: list[Asked] = field(default_factory=list)
    page: int = 1000
    address: str = ""

    def etag(self, key: str) -> str:
        return f'"{hashlib.md5(self.objects[key]).hexdigest()}"'

    def gets(self) -> list[str]:
        """The objects whose content was asked for."""
        return [one.key for one in self.asked if one.method == "GET" and one.key]

    def listing(self, query: dict[str, str]) -> str:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        entries: dict[str, str] = {}
        for key in sorted(self.objects):
            if not key.startswith(prefix):
                continue
            folder, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if found:
                name = escape(prefix + folder + found)
                entries[prefix + folder + found] = f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
            else:
                entries[key] = (
                    f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                    f"<ETag>{escape(self.etag(key))}</ETag><Size>{len(self.objects[key])}</Size></Contents>"
                )
        after = unquote(query.get("continuation-token", ""))
        rest = [name for name in entries if name > after]
        shown, more = rest[: self.page], len(rest) > self.page
        token = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(entries[name] for name in shown)}"
            "</ListBucketResult>"
        )


def error_body(code: str, message: str = "") -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        store: XmlStore = self.server.store
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        asked = Asked(self.command, key, query, {name.lower(): value for name, value in self.headers.items()})
        store.asked.append(asked)
        fault = store.decide(asked)
        if fault and fault.silence:
            fault.silence.wait(60)
            self.close_connection = True
        elif fault and fault.status:
            self._answer(fault.status, fault.body.encode(), {})
        elif bucket != "models":
            self._answer(404, error_body("NoSuchBucket").encode(), {})
        elif not key:
            self._answer(200, store.listing(query).encode(), {"Content-Type": "application/xml"})
        elif key not in store.objects:
            self._answer(404, error_body("NoSuchKey").encode(), {})
        else:
            self._object(store, asked, fault)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def _object(self, store: XmlStore, asked: Asked, fault: Fault | None) -> None:
        data = store.objects[asked.key]
        headers = {"ETag": store.etag(asked.key), "Last-Modified": formatdate(1767225600, usegmt=True)}
        if asked.headers.get("if-match", headers["ETag"]) != headers["ETag"]:
            self._answer(412, error_body("PreconditionFailed").encode(), {})
            return
        status = 200
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
        if match:
            start, end = int(match[1]), min(int(match[2]) + 1, len(data))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            data, status = data[start:end], 206
        self._answer(status, data, headers, fault.after if fault else None)

    def _answer(self, status: int, data: bytes, headers: dict[str, str], after: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if after is None else data[:after])
        if after is not None:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Clients that go are what some tests are about."""


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[XmlStore]:
    """A store on a port that the system chooses."""
    server = _Server(("127.0.0.1", 0), _Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    store = XmlStore(address=f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}")
    server.store = store  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
