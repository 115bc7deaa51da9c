"""API keys and CORS on a running server: the official clients, changes while it runs, and what its log tells."""

import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tests.conformance.access.asking_access import ask_http, write_models
from tests.conformance.access.restricted_questions import INFER
from tests.conformance.process import HOST, ServerProcess, start_atoll, wait_until
from tests.conformance.wire import Exchange
from tritonclient.utils import InferenceServerException

from atoll.frontends.access.key_form import hash_text, new_key

PAGE = "https://page.example"
ALICE, BOB, ROOT, CAROL = (new_key() for _ in range(4))
ENTRIES: list[dict[str, Any]] = [
    {"name": "alice", "hash": hash_text(ALICE), "models": ["first"], "scopes": ["inference", "model-repository"]},
    {"name": "bob", "hash": hash_text(BOB), "requests_per_second": 0.001, "burst": 3},
    {"name": "root", "hash": hash_text(ROOT), "scopes": ["admin"]},
]


class Served:
    """The server and its key file."""

    def __init__(self, server: ServerProcess, file: Path) -> None:
        self.server = server
        self.file = file

    def write(self, text: str) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(text)
        os.replace(beside, self.file)

    def ask(self, method: str, path: str, key: str = "", body: bytes | None = None, **headers: str) -> Exchange:
        given = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if key:
            given.append(("X-Api-Key", key))
        return ask_http(self.server.ports["http"], method, path, given, body)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("keys")
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": ENTRIES}))
    options = (
        *(f"--api-key-file={file}", f"--cors-allow-origin={PAGE}", "--log-verbose=1"),
        *("--model-control-mode=explicit", "--load-model=*", f"--access-log={folder / 'access'}"),
        *("--http-thread-count=2", "--grpc-infer-thread-count=2"),  # whose loops share keys and rates
    )
    with start_atoll(write_models(folder / "models", "first", "second"), folder / "log", *options) as server:
        yield Served(server, file)


def infer(client: Any, module: Any, model: str, **how: Any) -> Any:
    tensor = module.InferInput("IN", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2]], np.float32))
    return client.infer(model, [tensor], **how).as_numpy("OUT").tolist()


def test_the_official_clients_bring_their_key(served: Served) -> None:
    headers = {"Authorization": f"Bearer {ALICE}"}
    with tritonclient.http.InferenceServerClient(served.server.http) as client:
        assert client.is_server_ready()
        assert infer(client, tritonclient.http, "first", headers=headers) == [[1, 2]]
        for model, how, text in (
            ("second", {"headers": headers}, "not for model 'second'"),
            ("first", {}, "is needed"),
        ):
            with pytest.raises(InferenceServerException, match=text):
                infer(client, tritonclient.http, model, **how)
        assert client.get_model_metadata("first", headers=headers)["name"] == "first"
        index = client.get_model_repository_index(headers=headers)
        assert {one["name"] for one in index} == {"first"}
        statistics = client.get_inference_statistics(headers=headers)["model_stats"]
        assert {one["name"] for one in statistics} == {"first"}
        client.unload_model("first", headers=headers)
        client.load_model("first", headers=headers)
        with pytest.raises(InferenceServerException, match="for some models only"):
            client.load_model("first", headers=headers, config="{}")
    headers = {"authorization": f"Bearer {ALICE}"}
    with tritonclient.grpc.InferenceServerClient(served.server.grpc) as client:
        assert client.is_server_ready()
        assert infer(client, tritonclient.grpc, "first", headers=headers) == [[1, 2]]
        for model, how, status in (
            ("second", {"headers": headers}, "PERMISSION_DENIED"),
            ("first", {}, "UNAUTHENTICATED"),
        ):
            with pytest.raises(InferenceServerException) as raised:
                infer(client, tritonclient.grpc, model, **how)
            assert raised.value.status() == f"StatusCode.{status}"
        index = client.get_model_repository_index(headers=headers, as_json=True)
        assert {one["name"] for one in index["models"]} == {"first"}
        with pytest.raises(InferenceServerException, match="for some models only"):
            client.unload_model("first", headers=headers, unload_dependents=True)


def test_too_many_requests_are_told_when_to_come_back(served: Served) -> None:
    answers = [served.ask("POST", "/v2/models/first/infer", BOB, INFER) for _ in range(4)]
    assert [one.status for one in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[3].headers["retry-after"]) <= 1000
    assert "may send 0.001 requests a second" in answers[3].error
    assert served.ask("GET", "/v2/models/first", BOB).status == 429
    with grpc.insecure_channel(served.server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", metadata=(("x-api-key", BOB),))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_metrics_are_behind_it_too(served: Served) -> None:
    def ask(*headers: tuple[str, str]) -> Exchange:
        return ask_http(served.server.ports["metrics"], "GET", "/metrics", headers)

    assert ask().status == 401
    assert ask(("X-Api-Key", ALICE)).status == 403
    answer = ask(("Authorization", f"Bearer {ROOT}"))
    assert answer.status == 200
    assert b"nv_inference_count" in answer.body


def test_nobody_waits_for_the_body_of_a_stranger(served: Served) -> None:
    """Whoever has no key can neither fill the memory nor hold a connection for longer than the refusal takes."""
    with socket.create_connection((HOST, served.server.ports["http"]), 30) as connection:
        connection.sendall(b"POST /v2/models/first/infer HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n")
        answer = Exchange.read(connection)
        assert (answer.status, answer.headers["connection"]) == (401, "close")
    with socket.create_connection((HOST, served.server.ports["http"]), 30) as connection:
        head = b"POST /v2/models/first/infer HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 401 ")
    with socket.create_connection((HOST, served.server.ports["http"]), 30) as connection:
        head = b"POST /v2/models/first/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n" % len(INFER)
        for key, status in ((b"wrong", 401), (ALICE.encode(), 200)):
            connection.sendall(head + b"X-Api-Key: " + key + b"\r\n\r\n")
            connection.sendall(INFER)
            assert Exchange.read(connection).status == status, "small bodies keep the connection"


def test_a_page_asks_first_and_reads_then(served: Served) -> None:
    preflight = {"Origin": PAGE, "Access_Control_Request_Method": "POST"}
    answer = served.ask("OPTIONS", "/v2/models/first/infer", **preflight)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert "x-api-key" in answer.headers["access-control-allow-headers"]
    assert served.ask("OPTIONS", "/v2/models/first/infer", Origin=PAGE).status == 401
    for key, status in (("", 401), (ALICE, 200)):
        answer = served.ask("POST", "/v2/models/first/infer", key, INFER, Origin=PAGE)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, PAGE)
    other = served.ask("POST", "/v2/models/first/infer", ALICE, INFER, Origin="https://other.example")
    assert (other.status, other.headers.get("access-control-allow-origin")) == (200, None)
    for origin, status in ((PAGE, 200), ("https://other.example", 403)):
        assert served.ask("POST", "/v2/repository/index", ROOT, b"", Origin=origin).status == status


def test_a_changed_file_counts_without_a_restart(served: Served) -> None:
    """On a connection that is kept, whose head the server remembers."""
    with socket.create_connection((HOST, served.server.ports["http"]), 30) as connection:

        def status() -> int:
            connection.sendall(f"GET /v2 HTTP/1.1\r\nHost: h\r\nX-Api-Key: {CAROL}\r\n\r\n".encode())
            return Exchange.read(connection).status

        assert status() == 401
        served.write(json.dumps({"keys": [*ENTRIES, {"name": "carol", "hash": hash_text(CAROL)}]}))
        wait_until(lambda: status() == 200, "new key", served.server)
        served.write("keys: [{name: half")
        served.server.wait_for_log("stay as they were")
        assert status() == 200
        served.write(json.dumps({"keys": ENTRIES}))
        wait_until(lambda: status() == 401, "end of the key", served.server)


def test_neither_log_has_a_key_but_the_access_log_has_names(served: Served) -> None:
    served.ask("GET", "/v2", ALICE)
    served.ask("GET", "/v2", "not-a-key-of-anybody")
    access = served.file.parent / "access"
    wait_until(lambda: "alice" in access.read_text(), "line of alice's", served.server)
    texts = served.server.log_text() + access.read_text()
    for secret in (ALICE, BOB, ROOT, CAROL, "not-a-key-of-anybody"):
        assert secret not in texts
    for entry in ENTRIES:
        assert entry["hash"] not in texts


def test_nobody_is_warned_of_an_open_server(tmp_path: Path, served: Served) -> None:
    open_to_all = ("--http-address=0.0.0.0", "--grpc-address=0.0.0.0")
    models = write_models(tmp_path / "models", "first")
    with start_atoll(models, tmp_path / "log", f"--api-key-file={served.file}", *open_to_all) as server:
        assert "asks for no key" not in server.log_text()
    exempt = "--api-key-exempt=metrics"
    with start_atoll(models, tmp_path / "log", f"--api-key-file={served.file}", exempt, *open_to_all) as server:
        assert server.log_text().count("asks for no key") == 1
        assert ask_http(server.ports["metrics"], "GET", "/metrics").status == 200
        assert ask_http(server.ports["http"], "GET", "/v2/health/live").status == 401


def test_a_grpc_message_of_a_stranger_is_not_read(served: Served) -> None:
    """What is refused by its headers is refused whatever its message is."""
    with grpc.insecure_channel(served.server.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as raised:
            call(struct.pack("<q", -1) * 1000)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
