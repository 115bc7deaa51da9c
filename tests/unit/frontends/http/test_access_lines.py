"""Every answer over HTTP stands once in the access log, whatever became of its request."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.wire import Client, infer, request

from atoll.frontends.access_log import Access, AccessLog
from atoll.frontends.context import FrontendContext
from atoll.frontends.http.frontend import HttpFrontend, HttpOptions
from atoll.frontends.http.limits import ConnectionLimits


class Logged:
    """A frontend with an access log, and a client."""

    def __init__(self, path: Path):
        self.server = FakeServer()
        self._path = path
        self.log = AccessLog(str(path))
        context = FrontendContext(self.server, access_log=self.log)  # type: ignore[arg-type]
        limits = ConnectionLimits(max_body_size=1000, body_timeout_s=0.2)
        options = HttpOptions(port=0, limits=limits)
        self.frontend = HttpFrontend(self.server, options, context)  # type: ignore[arg-type]
        self.client: Client

    def lines(self) -> list[dict[str, Any]]:
        assert self.log.flush(30)
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    async def line(self) -> dict[str, Any]:
        """The first one, as soon as it is there."""
        while not self.lines():
            await asyncio.sleep(0.01)
        (line,) = self.lines()
        return line


@pytest.fixture
async def logged(tmp_path: Path) -> AsyncIterator[Logged]:
    one = Logged(tmp_path / "access.log")
    await one.frontend.start()
    one.client = await Client.connect(one.frontend.addresses[0])
    yield one
    one.client.close()
    await one.frontend.stop()
    one.log.close()


@pytest.mark.parametrize("model", ["echo", "thread"])
async def test_an_inference(logged: Logged, model: str) -> None:
    trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = infer(model, b"\0" * 16, "mine", trace, "X-Request-Id: abc")
    reply = await logged.client.ask(sent)
    line = await logged.line()
    host, port = logged.client.writer.get_extra_info("sockname")[:2]
    assert line.pop("duration_us") >= 0
    assert line.pop("time")
    assert line == {
        "peer": f"{host}:{port}",
        "protocol": "http",
        "method": "POST",
        "path": f"/v2/models/{model}/infer",
        "status": 200,
        "bytes_in": len(sent.partition(b"\r\n\r\n")[2]),
        "bytes_out": len(reply.body),
        "model": model,
        "version": "1",
        "request_id": "mine",
        "x_request_id": "abc",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (request("GET", "/v2/health/live?x=1"), {"status": 200, "path": "/v2/health/live"}),
        (request("GET", "/v2/models/echo"), {"status": 200, "model": "echo"}),
        (request("GET", "/nowhere"), {"status": 404, "path": "/nowhere"}),
        (request("PUT", "/v2/health/live"), {"status": 405, "method": "PUT"}),
        (infer("nobody"), {"status": 404, "model": "nobody"}),
        (infer("fail", b"\0" * 4, "me"), {"status": 500, "model": "fail", "request_id": "me"}),
        (request("POST", "/v2/models/echo/infer", b"{"), {"status": 500, "model": "echo", "bytes_in": 1}),
        (b"GARBAGE\r\n\r\n", {"status": 400, "method": "", "path": ""}),
        (request("POST", "/v2/models/echo/infer", b"", "Content-Length: 9999"), {"status": 400}),
        (
            b"POST /v2/models/echo/infer HTTP/1.1\r\nContent-Length: 9999\r\n\r\n",
            {"status": 413, "path": "/v2/models/echo/infer", "method": "POST"},
        ),
    ],
    ids=lambda value: value[:40].decode() if isinstance(value, bytes) else "",
)
async def test_what_is_refused_stands_there_too(logged: Logged, sent: bytes, expected: dict[str, Any]) -> None:
    reply = await logged.client.ask(sent)
    line = await logged.line()
    assert reply.status == expected["status"]
    assert {key: line[key] for key in expected} == expected
    assert line["bytes_out"] == len(reply.body)


async def test_a_body_that_does_not_come(logged: Logged) -> None:
    await logged.client.ask(b"POST /v2/models/echo/infer HTTP/1.1\r\nContent-Length: 10\r\n\r\nxx")
    line = await logged.line()
    assert (line["status"], line["path"]) == (408, "/v2/models/echo/infer")


async def test_an_idle_refusal_names_no_earlier_request(logged: Logged) -> None:
    await logged.client.ask(request("POST", "/v2/models/echo/infer", b"{"))
    await logged.client.ask(b"GARBAGE\r\n\r\n")
    assert [(line["status"], line["path"]) for line in logged.lines()] == [(500, "/v2/models/echo/infer"), (400, "")]


async def test_pipelined_requests_each_have_their_line_in_order(logged: Logged) -> None:
    sent = [infer("echo", b"\0" * 4 * size, f"r{size}") for size in range(1, 6)]
    logged.client.send(b"".join(sent))
    sizes = [len((await logged.client.reply()).body) for _ in sent]
    lines = logged.lines()
    assert [line["request_id"] for line in lines] == ["r1", "r2", "r3", "r4", "r5"]
    assert [line["bytes_out"] for line in lines] == sizes


async def test_a_client_that_leaves_before_the_answer(logged: Logged) -> None:
    logged.client.send(infer("wait", b"\0" * 4, "left"))
    await asyncio.to_thread(logged.server.arrived.wait, 20)
    logged.client.close()
    line = await logged.line()
    assert (line["status"], line["request_id"], line["aborted"]) == (499, "left", True)


async def test_head_has_no_body_to_count(logged: Logged) -> None:
    logged.client.send(request("HEAD", "/nowhere"))
    await logged.client.reply(head_only=True)
    assert (await logged.line())["bytes_out"] == 0


@pytest.mark.parametrize(
    ("value", "echoed"),
    [("abc-1", "abc-1"), ("x" * 256, "x" * 256), ("x" * 257, None), ("a b", None), ("é", None), ("", None)],
    ids=str,
)
async def test_a_printable_request_id_comes_back(logged: Logged, value: str, echoed: str | None) -> None:
    for path in ("/v2/health/live", "/nowhere"):
        logged.client.send(f"GET {path} HTTP/1.1\r\nX-Request-Id: {value}\r\n\r\n".encode())
        assert (await logged.client.reply()).headers.get("X-Request-Id") == echoed


async def test_what_waits_for_the_log_is_small_however_large_the_request(logged: Logged) -> None:
    """A log that nobody takes lines from keeps thousands of them."""
    noted: list[Access] = []
    logged.log.note = noted.append  # type: ignore[assignment,method-assign]
    client = await Client.connect(logged.frontend.addresses[0])
    many = [f"X-{number}: {'h' * 500}" for number in range(80)]
    many += ["X-Request-Id: " + "i" * 5000, "traceparent: " + "t" * 5000]
    await client.ask(request("POST", f"/v2/models/{'m' * 7000}/infer", b"{}", *many))
    await client.ask(request("POST", f"/v2/models/{'m' * 7000}/infer", b"x" * 1001, *many))  # a body that is too large
    client.close()
    assert [one.status for one in noted] == [404, 413]
    for one in noted:
        assert len(repr(one)) < 4096
        assert dict(one.headers) == {"x-request-id": "i" * 512, "traceparent": "t" * 512}
