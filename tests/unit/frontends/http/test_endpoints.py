"""What the endpoints answer, header by header."""

import gzip
import json
import zlib

import pytest
from tests.unit.frontends.http.wire import infer, request

JSON_INFER = b'{"inputs":[{"name":"IN","datatype":"FP32","shape":[1,2],"data":[1,2.5]}]}'


@pytest.fixture
async def client(running):
    return await running.connect()


async def test_documents(client):
    expected = {
        "/v2": {"name": "atoll", "version": "1.2.3", "extensions": ["binary_tensor_data", "statistics"]},
        "/v2/models/echo/versions/1": {
            "name": "echo",
            "versions": ["1"],
            "platform": "fake",
            "inputs": [{"name": "IN", "datatype": "FP32", "shape": [-1, -1]}],
            "outputs": [{"name": "IN", "datatype": "FP32", "shape": [-1, -1]}],
        },
    }
    for path, document in expected.items():
        reply = await client.ask(request("GET", path))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(reply.body)}\r\n\r\n"
        assert (reply.head.decode(), reply.json) == (head, document)
    assert (await client.ask(request("GET", "/v2/models/echo/config"))).json["max_batch_size"] == 4
    statistics = (await client.ask(request("GET", "/v2/models/stats"))).json["model_stats"]
    assert [one["name"] for one in statistics] == ["echo", "fail", "thread", "wait"]
    assert list(statistics[0]["inference_stats"]) == [
        *("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
    ]


async def test_readiness(running, client):
    for path in ("/v2/health/ready", "/v2/models/echo/ready"):
        running.server.is_ready = True
        assert (await client.ask(request("GET", path))).status == 200
        running.server.is_ready = False
        assert (await client.ask(request("GET", path))).status == 400
    reply = await client.ask(request("GET", "/v2/models/nope/ready"))
    assert (reply.status, reply.json) == (400, {"error": "Model version not ready"})
    assert (await client.ask(request("GET", "/v2/health/live"))).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "error", "content_type"),
    [
        ("GET", "/", 404, "Not Found", "text/plain"),
        ("GET", "/v2/", 404, "Not Found", "text/plain"),
        ("GET", "/v2/models//ready", 404, "Not Found", "text/plain"),
        ("GET", "/v2/models/echo/versions/x", 404, "Not Found", "text/plain"),
        ("GET", "/v2/models/nope", 404, "Request for unknown model: 'nope' is not found", "application/json"),
        ("GET", "/v2/models/e%63ho", 404, "Request for unknown model: 'e%63ho' is not found", "application/json"),
        ("GET", "/v2/models/nope/stats", 400, "requested model 'nope' is not available", "application/json"),
        ("DELETE", "/v2", 405, "Method Not Allowed", "application/json"),
        ("POST", "/v2/health/live", 405, "Method Not Allowed", "text/plain"),
        ("GET", "/v2/models/echo/infer", 405, "Method Not Allowed", "text/plain"),
        ("GET", "/v2/repository/index", 405, "Method Not Allowed", "application/json"),
        ("POST", "/v2/models/nope/infer", 404, "Request for unknown model: 'nope' is not found", "text/plain"),
        (
            "GET",
            "/v2/models/echo/versions/" + "9" * 20,
            400,
            f"failed to get model version from specified version string '{'9' * 20}' (details: stol), "
            "version should be an integral value > 0",
            "application/json",
        ),
    ],
)
async def test_refusals(client, method, path, status, error, content_type):
    reply = await client.ask(request(method, path))
    assert (reply.status, reply.json, reply.headers["Content-Type"]) == (status, {"error": error}, content_type)


@pytest.mark.parametrize("path", ["/v2?x=1", "http://somewhere:1/v2", "/v2/models/echo/versions/01"])
async def test_paths_in_other_forms(client, path):
    assert (await client.ask(request("GET", path))).status == 200


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://evil.example", "localhost", 403),
        ("http://evil.example", "evil.example", 403),  # a name that was made to point here
        ("null", "localhost", 403),
        ("http://localhost:8000", "localhost", 403),
        ("http://[", "localhost", 403),
        ("http://localhost", "localhost", 200),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", 200),
        ("http://[::1]:8000", "[::1]:8000", 200),
    ],
)
async def test_foreign_pages_may_not_use_control_endpoints(client, origin, host, status):
    line = f"HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n"
    reply = await client.ask(f"POST /v2/repository/index {line}".encode())
    assert reply.status == status
    if status == 403:
        assert "web pages of another origin" in reply.json["error"]
    assert (await client.ask(f"GET /v2 {line}".encode())).status == 200


async def test_json_inference(client):
    reply = await client.ask(request("POST", "/v2/models/echo/versions/1/infer", JSON_INFER))
    assert reply.body == (
        b'{"model_name":"echo","model_version":"1","outputs":'
        b'[{"name":"IN","datatype":"FP32","shape":[1,2],"data":[1.0,2.5]}]}'
    )
    assert reply.headers["Content-Type"] == "application/json"


async def test_binary_inference(client):
    reply = await client.ask(infer("thread", b"\1" * 16, "abc"))
    text = (
        b'{"id":"abc","model_name":"thread","model_version":"1","outputs":'
        b'[{"name":"IN","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}]}'
    )
    assert reply.body == text + b"\1" * 16
    assert reply.head.decode() == (
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(text)}\r\nContent-Length: {len(reply.body)}\r\n\r\n"
    )


async def test_a_raw_request(client):
    headers = ("Inference-Header-Content-Length: 0",)
    reply = await client.ask(request("POST", "/v2/models/echo/infer", b"\0" * 8, *headers))
    assert b'"shape":[1,2],"parameters":{"binary_data_size":8}' in reply.body


@pytest.mark.parametrize("length", ["74", "-1", "x", "", "99999999999999999999999", "\u0663"])
async def test_a_header_length_that_cannot_be(client, length):
    headers = (f"Inference-Header-Content-Length: {length}",)
    reply = await client.ask(request("POST", "/v2/models/echo/infer", JSON_INFER, *headers))
    assert reply.status == 400
    assert f"inference header size should be in range (0, {len(JSON_INFER)}), got: " in reply.json["error"]


async def test_errors_of_the_engine_and_of_the_model(running, client):
    reply = await client.ask(request("POST", "/v2/models/echo/infer", JSON_INFER.replace(b"IN", b"BAD")))
    assert (reply.status, reply.headers["Content-Type"]) == (400, "application/json")
    reply = await client.ask(infer("fail"))
    assert (reply.status, reply.headers["Content-Type"]) == (500, "text/plain")
    assert reply.json == {"error": "told to fail"}
    running.server.stopping = True
    reply = await client.ask(infer("echo"))
    assert (reply.status, reply.json["error"][:18]) == (503, "Server is stopping")


async def test_what_is_wrong_with_the_model_is_said_before_the_body_is_read(running, client):
    running.server.decoupled = ("echo",)
    for body in (JSON_INFER, b"{"):
        reply = await client.ask(request("POST", "/v2/models/echo/infer", body))
        assert (reply.status, reply.headers["Content-Type"]) == (501, "text/plain")
        assert reply.json["error"] == "HTTP end point doesn't support models with decoupled transaction policy"


async def test_what_is_not_found_for_the_body_is_not_the_model(client):
    place = b'"parameters":{"shared_memory_region":"nope","shared_memory_byte_size":8}'
    body = b'{"inputs":[{"name":"IN","datatype":"FP32","shape":[1,2],%s}]}' % place
    reply = await client.ask(request("POST", "/v2/models/echo/infer", body))
    assert (reply.status, reply.headers["Content-Type"]) == (404, "application/json")
    assert reply.json["error"].startswith("Unable to find shared memory region: 'nope'")


async def test_an_error_inside_the_server_is_answered_too(running, client, monkeypatch):
    monkeypatch.setattr(running.server, "metadata", lambda: 1 / 0)
    reply = await client.ask(request("GET", "/v2"))
    assert (reply.status, "the server's log" in reply.json["error"]) == (500, True)
    assert (await client.ask(request("GET", "/v2/health/live"))).status == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [4, 1_000_000], ids=["here", "in a thread"])
async def test_compressed_requests_and_responses(client, coding, size):
    data = json.dumps({"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, size], "data": [0.5] * size}]})
    squeezed = gzip.compress(data.encode()) if coding == "gzip" else zlib.compress(data.encode(), 1)
    headers = (f"Content-Encoding: {coding}", f"Accept-Encoding: {coding}")
    reply = await client.ask(request("POST", "/v2/models/echo/infer", squeezed, *headers))
    assert reply.headers["Content-Encoding"] == coding
    assert json.loads(zlib.decompress(reply.body, 47))["outputs"][0]["data"] == [0.5] * size


@pytest.mark.parametrize(
    ("coding", "body", "status", "text"),
    [
        ("br", JSON_INFER, 501, "Unsupported compression type"),
        ("gzip", b"not gzip", 400, "failed to decompress the request body"),
        ("gzip", gzip.compress(JSON_INFER)[:-9], 400, "it is cut off"),
        ("gzip", gzip.compress(b"0" * 3_000_000), 400, "exceeds the maximum allowed value of 2000000"),
        ("deflate", zlib.compress(b"0" * 30_000_000), 400, "exceeds the maximum allowed value of 2000000"),
    ],
)
async def test_compressed_requests_that_are_refused(start, coding, body, status, text):
    running = await start(max_body_size=2_000_000)
    client = await running.connect()
    reply = await client.ask(request("POST", "/v2/models/echo/infer", body, f"Content-Encoding: {coding}"))
    assert reply.status == status
    assert text in reply.json["error"]


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip;q=0.5, deflate;q=0.9", "deflate"),
        ("br, gzip;q=0", None),
        ("*", None),
        ("GZIP", None),
        ("gzip;q=x", None),
    ],
)
async def test_the_coding_of_the_answer(client, accepted, chosen):
    reply = await client.ask(request("POST", "/v2/models/echo/infer", JSON_INFER, f"Accept-Encoding: {accepted}"))
    assert reply.headers.get("Content-Encoding") == chosen
    reply = await client.ask(request("GET", "/v2", b"", f"Accept-Encoding: {accepted}"))
    assert "Content-Encoding" not in reply.headers
