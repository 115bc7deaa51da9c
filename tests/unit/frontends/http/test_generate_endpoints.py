"""The generate endpoints over a server whose models send as many responses as they are told to."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.frontends.http.fake_engine import FakeServer
from tests.unit.frontends.http.wire import Client, Reply, request

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.errors import DeadlineExceededError, InternalError
from atoll.frontends.http.asgi import asgi_app
from atoll.frontends.http.endpoints.generate_senders import WaitingEvents
from atoll.frontends.http.frontend import HttpFrontend, HttpOptions
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor

LIVE = request("GET", "/v2/health/live")
EVENTS = "text/event-stream; charset=utf-8"
NOT_ONE = "generate expects model to produce exactly 1 response"


class Talking(FakeServer):
    """`talk` responds when the test says so; its requests are in `requests`."""

    names = (*FakeServer.names, "talk")

    def model(self, name: str, version: str = "") -> Any:
        model = super().model(name, version)
        if name != "talk":
            return model
        text = {"data_type": DataType.BYTES, "dims": (1,)}
        config = ModelConfig(
            name="talk",
            backend="fake",
            input=(ModelInput(name="text_input", **text),),
            output=(ModelOutput(name="text_output", **text),),
        )
        return SimpleNamespace(name=name, version="1", config=config, decoupled=True, submit=self.submit)

    def submit(self, request: InferenceRequest) -> None:
        if request.model_name != "talk":
            super().submit(request)
            return
        self.requests.append(request)
        self.arrived.set()

    async def request(self) -> InferenceRequest:
        assert await asyncio.to_thread(self.arrived.wait, 20)
        self.arrived.clear()
        return self.requests[-1]


def say(request: InferenceRequest, text: str | bytes, final: bool = False) -> None:
    data = text.encode() if isinstance(text, str) else text
    output = Tensor("text_output", DataType.BYTES, (1,), array=np.array([data], np.object_))
    request.sender.send(InferenceResponse("talk", "1", request.id, [output]), final)


def fail(request: InferenceRequest, error: Exception, final: bool = False) -> None:
    request.sender.send(InferenceResponse("talk", "1", error=error), final)


def ask(endpoint: str = "generate_stream", *headers: str, **members: object) -> bytes:
    body = json.dumps({"text_input": "hi", **members}).encode()
    return request("POST", f"/v2/models/talk/{endpoint}", body, *headers)


@pytest.fixture(autouse=True)
def room(monkeypatch):
    """For the events that wait; nothing may be left of it."""
    room = WaitingEvents()
    monkeypatch.setattr("atoll.frontends.http.endpoints.generate.WaitingEvents", lambda: room)
    return room


@pytest.fixture
async def talking(room):
    server = Talking()
    frontend = HttpFrontend(server, HttpOptions(port=0))
    await frontend.start()
    clients = []

    async def connect() -> Client:
        clients.append(await Client.connect(frontend.addresses[0]))
        return clients[-1]

    yield SimpleNamespace(server=server, frontend=frontend, connect=connect)
    for client in clients:
        client.close()
    await frontend.stop()


async def begin(talking: Any, *headers: str, **members: object) -> tuple[Client, InferenceRequest]:
    client = await talking.connect()
    client.send(ask("generate_stream", *headers, **members))
    return client, await talking.server.request()


async def head_of(client: Client) -> bytes:
    return await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), client.timeout)


async def event_of(client: Client) -> Any:
    """The next event's document; None at the end of the stream."""
    size = int(await asyncio.wait_for(client.reader.readuntil(b"\r\n"), client.timeout), 16)
    chunk = await asyncio.wait_for(client.reader.readexactly(size + 2), client.timeout)
    if not size:
        return None
    assert chunk.startswith(b"data: ")
    assert chunk.endswith(b"\n\n\r\n")
    return json.loads(chunk[6:-4])


async def test_each_response_is_an_event_when_it_comes(talking):
    client, asked = await begin(talking, id="7", temperature=0.5)
    assert (asked.inputs["text_input"].array()[0], asked.id) == (b"hi", "7")
    assert asked.parameters == {"id": "7", "temperature": 0.5}
    say(asked, "one")
    assert await head_of(client) == (
        f"HTTP/1.1 200 OK\r\nContent-Type: {EVENTS}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    answer = {"id": "7", "model_name": "talk", "model_version": "1"}
    assert await event_of(client) == {**answer, "text_output": "one"}
    await asyncio.to_thread(say, asked, "two")
    assert await event_of(client) == {**answer, "text_output": "two"}
    say(asked, "three", final=True)
    assert await event_of(client) == {**answer, "text_output": "three"}
    assert await event_of(client) is None
    assert (await client.ask(LIVE)).status == 200


async def test_the_end_may_come_alone(talking):
    client, asked = await begin(talking)
    asked.sender.send(None, False)
    asked.sender.send(None, True)
    assert (await head_of(client)).startswith(b"HTTP/1.1 200 ")
    assert await event_of(client) is None


async def test_errors_are_events_and_the_first_decides_the_status(talking):
    client, asked = await begin(talking)
    fail(asked, InternalError("broken"))
    say(asked, "still here")
    fail(asked, InternalError("again"), final=True)
    assert (await head_of(client)).startswith(b"HTTP/1.1 400 ")
    assert await event_of(client) == {"error": "broken"}
    assert (await event_of(client))["text_output"] == "still here"
    assert await event_of(client) == {"error": "again"}
    assert await event_of(client) is None


async def test_a_response_that_cannot_be_encoded_is_an_error(talking):
    client, asked = await begin(talking)
    broken = Tensor("text_output", DataType.BYTES, (1,), buffer=b"no length")
    asked.sender.send(InferenceResponse("talk", "1", "", [broken]), False)
    say(asked, "next", final=True)
    assert (await head_of(client)).startswith(b"HTTP/1.1 400 ")
    assert list(await event_of(client)) == ["error"]
    assert (await event_of(client))["text_output"] == "next"


async def test_a_client_that_goes_away_cancels_its_request(talking):
    client, asked = await begin(talking)
    say(asked, "one")
    await head_of(client)
    cancelled = asyncio.Event()
    asked.on_cancel = lambda request: cancelled.set()
    client.close()
    await asyncio.wait_for(cancelled.wait(), 20)
    say(asked, "to nobody")
    asked.sender.send(None, True)
    other = await talking.connect()
    assert (await other.ask(LIVE)).status == 200


async def test_a_client_that_goes_before_the_first_response_cancels_its_request(talking):
    for endpoint in ("generate", "generate_stream"):
        client = await talking.connect()
        client.send(ask(endpoint))
        asked = await talking.server.request()
        cancelled = asyncio.Event()
        asked.on_cancel = lambda request, cancelled=cancelled: cancelled.set()
        client.close()
        await asyncio.wait_for(cancelled.wait(), 20)
        say(asked, "to nobody", final=True)


async def test_a_slow_reader_gets_all_of_it(talking):
    client, asked = await begin(talking)
    client.writer.transport.pause_reading()
    count = 400
    for number in range(count):
        say(asked, f"{number} " + "x" * 50_000)
        await asyncio.sleep(0)
    (connection,) = talking.frontend.ports[0].connections
    assert connection._writing_paused
    assert connection._transport.get_write_buffer_size() < 200_000  # the rest waits as one piece
    client.writer.transport.resume_reading()
    await head_of(client)
    text = bytearray()
    say(asked, "end", final=True)
    while True:
        size = int(await client.reader.readuntil(b"\r\n"), 16)
        text += (await client.reader.readexactly(size + 2))[:-2]
        if not size:
            break
    events = [json.loads(one.removeprefix("data: ")) for one in text.decode().split("\n\n")[:-1]]
    assert [one["text_output"].partition(" ")[0] for one in events] == [*map(str, range(count)), "end"]


@pytest.mark.parametrize("limit", ["one", "together"])
async def test_a_reader_too_far_behind_loses_its_stream(talking, room, limit, caplog):
    if limit == "one":
        room.one = 1_000_000
    else:
        room.together.limit = 1_000_000
    client, asked = await begin(talking)
    client.writer.transport.pause_reading()
    while not asked.cancelled:
        say(asked, "x" * 100_000)
        await asyncio.sleep(0)
    assert room.together.held == 0
    say(asked, "more")
    asked.sender.send(None, True)
    client.writer.transport.resume_reading()
    assert not (await client.closed()).endswith(b"0\r\n\r\n")
    assert "bytes behind" in caplog.text
    other = await talking.connect()
    assert (await other.ask(LIVE)).status == 200


@pytest.mark.parametrize("ended", [False, True])
async def test_who_reads_nothing_costs_nobody_else_his_stream(talking, room, ended, caplog):
    """The one that is furthest behind loses it, even where all of its events are there already."""
    room.together.limit = 3_000_000
    idle, first = await begin(talking)
    idle.writer.transport.pause_reading()
    while room.together.held < 2_000_000:
        say(first, "x" * 100_000)
        await asyncio.sleep(0)
    if ended:
        say(first, "end", final=True)
    slow, second = await begin(talking)
    slow.writer.transport.pause_reading()
    before = room.together.held
    while room.together.held >= before and not second.cancelled:
        say(second, "y" * 100_000)
        await asyncio.sleep(0)
    assert not second.cancelled
    assert ended or first.cancelled
    assert caplog.text.count("broken off") == 1
    say(second, "end", final=True)
    slow.writer.transport.resume_reading()
    text = bytearray()
    while not text.endswith(b"\r\n0\r\n\r\n"):
        text += await asyncio.wait_for(slow.reader.read(1 << 20), 20)
    assert b'"text_output":"end"' in text
    assert room.together.held == 0
    assert not room.streams


async def test_the_room_for_events_is_there_again_when_they_are_read_or_their_reader_has_left(talking, room):
    for leaves in (False, True):
        client, asked = await begin(talking)
        client.writer.transport.pause_reading()
        while room.together.held < 1_000_000:
            say(asked, "x" * 100_000)
            await asyncio.sleep(0)
        if leaves:
            client.writer.transport.abort()
            while room.together.held:
                await asyncio.sleep(0.001)
            assert asked.cancelled
        say(asked, "end", final=True)
        if not leaves:
            assert room.together.held > 1_000_000  # the stream goes on until it is read
            client.writer.transport.resume_reading()
            text = bytearray()
            while not text.endswith(b"\r\n0\r\n\r\n"):
                text += await asyncio.wait_for(client.reader.read(1 << 20), 20)
            assert b'"text_output":"end"' in text
            assert room.together.held == 0
            assert (await client.ask(LIVE)).status == 200


async def test_draining_lets_a_stream_end(talking):
    client, asked = await begin(talking)
    say(asked, "one")
    await head_of(client)
    drained = asyncio.ensure_future(talking.frontend.drain(20))
    await asyncio.sleep(0.01)
    say(asked, "two", final=True)
    assert [(await event_of(client))["text_output"] for _ in range(2)] == ["one", "two"]
    assert await client.closed() == b"0\r\n\r\n"
    await asyncio.wait_for(drained, 20)


async def generated(talking: Any, act: Any) -> Reply:
    client = await talking.connect()
    client.send(ask("generate"))
    asked = await talking.server.request()
    act(asked)
    return await client.reply()


async def test_one_response_is_the_answer(talking):
    reply = await generated(talking, lambda asked: say(asked, "one", final=True))
    assert (reply.status, reply.headers["Content-Type"], reply.json["text_output"]) == (200, "application/json", "one")
    reply = await generated(
        talking, lambda asked: (asked.sender.send(None, False), say(asked, "one"), asked.sender.send(None, True))
    )
    assert reply.json["text_output"] == "one"


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (lambda asked: asked.sender.send(None, True), 200),
        (lambda asked: (say(asked, "one"), say(asked, "two")), 200),
        (lambda asked: (say(asked, "one"), say(asked, "two", final=True)), 200),
        (lambda asked: (fail(asked, InternalError("broken")), say(asked, "one", final=True)), 400),
    ],
    ids=["none", "more to come", "two", "after an error"],
)
async def test_not_exactly_one_response_is_an_error(talking, act, status):
    reply = await generated(talking, act)
    assert (reply.status, list(reply.json), reply.json["error"].startswith(NOT_ONE)) == (status, ["error"], True)


async def test_the_second_response_ends_the_request(talking):
    await generated(talking, lambda asked: (say(asked, "one"), say(asked, "two")))
    (asked,) = talking.server.requests
    assert asked.cancelled
    say(asked, "three")
    asked.sender.send(None, True)


@pytest.mark.parametrize(("error", "status"), [(InternalError("broken"), 400), (DeadlineExceededError("late"), 504)])
async def test_a_models_error(talking, error, status):
    reply = await generated(talking, lambda asked: fail(asked, error, final=True))
    assert (reply.status, reply.json) == (status, {"error": str(error)})


async def test_a_deadline_is_the_requests(talking):
    _, asked = await begin(talking, "Atoll-Deadline-Seconds: 5")
    assert asked.deadline_ns - asked.timeline.request_start == 5_000_000_000


async def test_refusals(talking):
    client = await talking.connect()
    reply = await client.ask(request("POST", "/v2/models/nope/generate", b"{"))
    assert (reply.status, reply.headers["Content-Type"]) == (404, "application/json")
    reply = await client.ask(ask("generate", "Content-Encoding: gzip"))
    assert (reply.status, "only 'identity'" in reply.json["error"]) == (400, True)
    reply = await client.ask(request("POST", "/v2/models/talk/generate_stream", b"[]"))
    assert (reply.status, reply.json["error"]) == (500, "attempt to get members for non-object")
    assert (await client.ask(request("GET", "/v2/models/talk/generate"))).status == 405


async def test_a_model_that_answers_from_another_thread(talking):
    client = await talking.connect()
    body = json.dumps({"IN": [1, 2]}).encode()
    for model in ("echo", "thread"):
        reply = await client.ask(request("POST", f"/v2/models/{model}/generate", body))
        assert reply.json == {"IN": [1.0, 2.0], "model_name": model, "model_version": "1"}


@pytest.mark.parametrize("endpoint", ["generate", "generate_stream"])
async def test_a_model_that_is_not_in_memory_is_loaded_first(talking, endpoint):
    talking.server.asleep.add("talk")
    client = await talking.connect()
    client.send(ask(endpoint))
    await asyncio.to_thread(talking.server.wait_for_wake)
    talking.server.woken()
    say(await talking.server.request(), "one", final=True)
    if endpoint == "generate":
        assert (await client.reply()).json["text_output"] == "one"
    else:
        await head_of(client)
        assert (await event_of(client))["text_output"] == "one"


class AsgiCall:
    """One request to the application; the test reads what it sends, and may let the client go or make it wait."""

    def __init__(self, server: Talking, endpoint: str = "generate_stream"):
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.gone = asyncio.Event()
        self._incoming = [{"type": "http.request", "body": b'{"text_input":"hi"}'}]
        scope = {"type": "http", "method": "POST", "path": f"/v2/models/talk/{endpoint}", "headers": []}
        self.serving = asyncio.ensure_future(asgi_app(server)(scope, self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        if self._incoming:
            return self._incoming.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        self.sent.put_nowait(message)

    async def message(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), 20)


async def test_asgi_sends_each_event_when_it_comes():
    server = Talking()
    call = AsgiCall(server)
    asked = await server.request()
    say(asked, "one")
    start = await call.message()
    assert (start["status"], start["headers"]) == (200, [(b"content-type", EVENTS.encode())])
    event = await call.message()
    assert (event["more_body"], b'"text_output":"one"' in event["body"]) == (True, True)
    await asyncio.to_thread(say, asked, "two", True)
    assert b'"text_output":"two"' in (await call.message())["body"]
    end = await call.message()
    assert (end["body"], end.get("more_body", False)) == (b"", False)
    await asyncio.wait_for(call.serving, 20)


async def test_asgi_keeps_what_a_slow_reader_has_not_taken():
    server = Talking()
    call = AsgiCall(server)
    asked = await server.request()
    call.reads.clear()
    for number in range(50):
        say(asked, f"{number} " + "x" * 10_000)
        await asyncio.sleep(0)
    call.reads.set()
    say(asked, "end", final=True)
    await asyncio.wait_for(call.serving, 20)
    messages = [call.sent.get_nowait() for _ in range(call.sent.qsize())]
    text = b"".join(one.get("body", b"") for one in messages).decode()
    said = [json.loads(one.removeprefix("data: "))["text_output"] for one in text.split("\n\n")[:-1]]
    assert [one.partition(" ")[0] for one in said] == [*map(str, range(50)), "end"]
    assert len(messages) < 30  # what waited has become one piece


async def test_asgi_breaks_off_what_falls_too_far_behind(room):
    room.one = 100_000
    server = Talking()
    call = AsgiCall(server)
    asked = await server.request()
    call.reads.clear()
    while not asked.cancelled:
        say(asked, "x" * 10_000)
        await asyncio.sleep(0)
    call.reads.set()
    with pytest.raises(ConnectionError, match="in the middle"):
        await asyncio.wait_for(call.serving, 20)


@pytest.mark.parametrize("begun", [False, True])
async def test_asgi_cancels_the_request_of_a_client_that_goes_away(begun):
    server = Talking()
    call = AsgiCall(server)
    asked = await server.request()
    if begun:
        say(asked, "one")
        await call.message()
    call.gone.set()
    await asyncio.wait_for(call.serving, 20)
    assert asked.cancelled
    say(asked, "to nobody", final=True)


async def test_asgi_answers_whole():
    server = Talking()
    call = AsgiCall(server, "generate")
    say(await server.request(), "one", final=True)
    start, content = await call.message(), await call.message()
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(content["body"])
    assert json.loads(content["body"])["text_output"] == "one"
    await asyncio.wait_for(call.serving, 20)
