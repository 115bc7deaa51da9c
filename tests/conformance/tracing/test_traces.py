"""Traces, trace context and forwarded headers at Atoll, compared with what the real server was seen to do."""

import json
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.process import ServerProcess, start_atoll, wait_until
from tests.conformance.recording import read_record
from tests.conformance.tracing import scenarios
from tests.conformance.tracing.scenarios import PARENT, infer, infer_grpc

RECORDED = read_record("tracing")
LEVELS = ("--trace-config=level=TIMESTAMPS", "--trace-config=level=TENSORS", "--trace-config=rate=1")
PATTERNS = ("--http-header-forward-pattern=x-.*|headers", "--grpc-header-forward-pattern=X-")
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenarios.write_models(tmp_path_factory.mktemp("traces") / "models")


@pytest.fixture(scope="module")
def entries(repository: Path) -> list[dict[str, Any]]:
    """All that one server wrote, with the other kinds of ends that the real one loses its file by."""
    folder = repository.parent
    options = (scenarios.CACHE, *LEVELS, f"--trace-config=triton,file={folder / 'trace.json'}")
    with start_atoll(repository, folder / "log", *options) as server:
        scenarios.ask_everything(server)
        assert infer(server, "echo", "refused", parameters={"timeout": 0}).status == 200
        wrong = {"id": "wrong", "inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
        assert server.exchange("POST", "/v2/models/echo/infer", body=json.dumps(wrong).encode()).status == 400
        leave(server, "gone")
        server.terminate()
        assert server.wait() == 0
    found: list[dict[str, Any]] = json.loads((folder / "trace.json").read_text())
    return found


def leave(server: ServerProcess, id: str) -> None:
    """A client that goes away while its request waits for company."""
    body = json.dumps(
        {"id": id, "inputs": [{"name": "IN", "datatype": "INT32", "shape": [1, 2], "data": [1, 2]}]}
    ).encode()
    with socket.create_connection(("127.0.0.1", server.ports["http"])) as connection:
        head = f"POST /v2/models/batched/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_until(lambda: pending(server) == 1, "a request that waits", server)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no half-closed one
    wait_until(lambda: pending(server) == 0, "the end of that", server)


def pending(server: ServerProcess) -> int:
    with socket.create_connection(("127.0.0.1", server.ports["metrics"])) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        page = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
    found = re.search(r'nv_inference_pending_request_count\{model="batched"[^}]*\} (\d+)', page)
    return int(found[1]) if found else 0


def once(traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The real server writes the outputs twice that it puts into the response cache."""
    return [
        {**one, "tensors": [list(each) for each in dict.fromkeys(map(tuple, one["tensors"]))]}
        if one["model"] == ["cached", 1, "missed"]
        else one
        for one in traces
    ]


def test_the_traces_are_those_of_the_real_server(entries: list[dict[str, Any]]) -> None:
    added = (["echo", 1, "refused"], ["echo", 1, "wrong"], ["batched", 1, "gone"])
    got = [one for one in scenarios.summary(entries) if one["model"] not in added]
    assert got == once(RECORDED["traces"])


def test_refused_and_cancelled_requests_end_their_traces(entries: list[dict[str, Any]]) -> None:
    noted = {one["model"][2]: set(one["noted"]) for one in scenarios.summary(entries)}
    assert noted["wrong"] == {"HTTP_RECV_START", "HTTP_RECV_END", "REQUEST_START", "REQUEST_END"}
    assert {"REQUEST_START", "QUEUE_START", "REQUEST_END"} <= noted["gone"]
    assert "COMPUTE_START" not in noted["gone"]


def test_moments_follow_one_another(entries: list[dict[str, Any]]) -> None:
    order = (
        *("HTTP_RECV_START", "GRPC_WAITREAD_START", "HTTP_RECV_END", "GRPC_WAITREAD_END", "REQUEST_START"),
        *("QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START"),
        *("HTTP_SEND_START", "HTTP_SEND_END"),
    )
    for moments in scenarios.spans(entries).values():
        stamps = [moments[name] for name in order if name in moments]
        assert stamps == sorted(stamps)
        assert moments["REQUEST_START"] <= moments["REQUEST_END"]


def test_parents_span_what_was_made_for_them(entries: list[dict[str, Any]]) -> None:
    spans = scenarios.spans(entries)
    parents = {entry["id"]: entry["parent_id"] for entry in entries if "parent_id" in entry}
    assert len(parents) == 4
    for child, parent in parents.items():
        assert spans[parent]["REQUEST_START"] <= spans[child]["REQUEST_START"]
        assert spans[child]["REQUEST_END"] <= spans[parent]["REQUEST_END"]


@pytest.fixture(scope="module")
def forwarding(repository: Path) -> Iterator[ServerProcess]:
    with start_atoll(repository, repository.parent / "log2", scenarios.CACHE, *PATTERNS) as server:
        yield server


def test_models_see_the_headers_that_the_real_server_forwards(forwarding: ServerProcess) -> None:
    assert scenarios.ask_headers(forwarding) == RECORDED["headers"]


def test_models_see_the_metadata_that_the_real_server_forwards(forwarding: ServerProcess) -> None:
    assert scenarios.ask_grpc_headers(forwarding) == RECORDED["headers_over_grpc"]


def test_no_header_changes_a_sequence(repository: Path) -> None:
    with start_atoll(
        repository, repository.parent / "log3", scenarios.CACHE, "--http-header-forward-pattern=.*"
    ) as all:
        answer = infer(all, "echo", "", {"sequence_id": "7", "Sequence_Start": "true", "x-" + "y" * 300: "long"})
        assert answer.status == 200
        seen = scenarios.facts(answer)
        assert "Host" in seen
        assert "equence" not in seen
        assert "yyy" not in seen


@pytest.mark.parametrize("model", ["echo", "calls", "steps"])
def test_models_see_the_trace_context_and_hand_it_on(forwarding: ServerProcess, model: str) -> None:
    """To steps of ensembles and to other models; in triton's own mode, too, where the real server has none."""
    headers = {"Traceparent": PARENT, "TraceState": "a=b,c=d"}
    wanted = "{'traceparent':'" + PARENT + "','tracestate':'a=b,c=d'}"
    assert wanted in scenarios.facts(infer(forwarding, model, "x", headers)).replace("\\", "")
    assert OTHER in scenarios.facts(infer(forwarding, model, "x", {"traceparent": OTHER}))


def test_the_context_comes_over_grpc_too(forwarding: ServerProcess) -> None:
    seen = infer_grpc(forwarding, "calls", "x", {"traceparent": PARENT}).as_numpy("FACTS")[0][0].decode()
    assert PARENT in seen


def test_a_model_that_hands_nothing_on_has_its_requests_untraced(forwarding: ServerProcess) -> None:
    assert scenarios.facts(infer(forwarding, "calls", "alone", {"traceparent": PARENT})).endswith("null]")


@pytest.mark.parametrize("bad", ["", "00-0-0-00", PARENT.upper(), "x" * 4000, PARENT + "-more"])
def test_a_context_against_the_rules_is_none(forwarding: ServerProcess, bad: str) -> None:
    assert scenarios.facts(infer(forwarding, "echo", "x", {"traceparent": bad})).endswith("null]")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_pattern_that_is_none_is_refused_at_the_start(repository: Path, tmp_path: Path, protocol: str) -> None:
    option = f"--{protocol}-header-forward-pattern=("
    server = start_atoll_that_fails(repository, tmp_path / "log", option)
    assert f"{option}: this is no regular expression" in server


def start_atoll_that_fails(repository: Path, log: Path, *options: str) -> str:
    with pytest.raises(AssertionError):
        start_atoll(repository, log, *options)
    return log.read_text()
