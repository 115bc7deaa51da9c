"""SageMaker's and Vertex AI's endpoints: Atoll's answers compared with those of the real server (2.51)."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.comparing import expect_alike, http_differences
from tests.conformance.hosting.hosted import answers, hosted, put
from tests.conformance.hosting.hosting_questions import DEADLY, PLAIN, SERVERS, ask, load
from tests.conformance.hosting.hosting_repository import write_models
from tests.conformance.hosting.record_hosting import record
from tests.conformance.process import ServerProcess
from tests.conformance.recording import read_record
from tests.conformance.wire import Exchange, request_bytes

RECORDED = read_record("hosting")
QUESTIONS = [(kind, question.name) for kind, make in SERVERS.items() for question in make()]

AIP = {"AIP_PREDICT_ROUTE": "/p", "AIP_HEALTH_ROUTE": "/h"}

RAW = "the real server calls the input of a body without JSON raw_input; Atoll names it as the model does"
LIST = "the real server calls its JSON text/plain"
TRACE = "the real server's Python has more of its own importing in the traceback"
OTHERWISE = {
    **{
        (kind, f"POST {path} {media_type}{size}"): RAW
        for kind, path, media_type in (
            ("single", "/invocations", "application/vnd.sagemaker-triton.binary+json;json-header-size="),
            ("multi", "/models/h1/invoke", "application/vnd.sagemaker-triton.binary+json;json-header-size="),
            ("vertex", "/predict", "application/vnd.vertex-ai-triton.binary+json;json-header-size="),
        )
        for size in ("0", "x", "")
    },
    ("single", "GET /models"): LIST,
    ("multi", "GET /models before"): LIST,
    ("multi", "GET /models/"): LIST,
    ("multi", "GET /models one"): LIST,
    ("multi", "GET /models/h1 loaded"): LIST,
    ("multi", "POST /models h5 from broken as h5"): TRACE,
    ("multi", "POST /models h5 from large as h5"): TRACE,
    ("multi", "POST /models h5 from several as h5"): "the real server serves whichever it finds last on the disk",
    ("vertex", "POST /predict to v2"): "the name of the server",
    ("vertex", "POST /predict to v2/models/same/generate"): "the real server redirects to no generate endpoint",
    ("vertex", "GET /predict other"): "the real server says the same without a body",
}


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hosting")
    return {kind: answers(folder / kind, kind, real=False) for kind in SERVERS}


def test_each_question_has_one_name_and_one_record() -> None:
    for kind, make in SERVERS.items():
        names = [question.name for question in make()]
        assert len(set(names)) == len(names)
        assert list(RECORDED[kind]) == names


@pytest.mark.parametrize(("kind", "name"), [one for one in QUESTIONS if one not in OTHERWISE])
def test_the_answer_is_that_of_the_real_server(answered: Mapping[str, Any], kind: str, name: str) -> None:
    found = http_differences(RECORDED[kind][name], answered[kind][name])
    assert not found, "\n".join([name, *found])


@pytest.mark.parametrize(("kind", "name"), OTHERWISE)
def test_the_answer_differs_as_the_table_says(answered: Mapping[str, Any], kind: str, name: str) -> None:
    expected, got = RECORDED[kind][name], answered[kind][name]
    assert http_differences(expected, got), "no longer different: take it out of the table"
    reason = OTHERWISE[kind, name]
    if "generate" not in name and "whichever" not in reason:
        assert got["status"] == expected["status"]
    if reason == LIST:
        assert json.loads(got["body"]) == json.loads(expected["body"])


def test_what_ends_the_real_server_is_refused(tmp_path: Path) -> None:
    with hosted(tmp_path, "multi", real=False) as (_, port):
        for body in DEADLY:
            assert put(port, tmp_path, ask("POST", "/models", body)).status == 400
        assert put(port, tmp_path, ask("GET", "/models")).json() == {"models": []}


def test_a_model_is_invoked_and_listed_whatever_its_user_calls_it(tmp_path: Path) -> None:
    """The real server lists nothing of such a model, and finds it by its user's name alone."""
    with hosted(tmp_path, "multi", real=False) as (_, port):
        assert put(port, tmp_path, load("hash", "a", "first.tar.gz")).status == 200
        (listed,) = put(port, tmp_path, ask("GET", "/models")).json()["models"]
        assert listed == {"modelName": "hash", "modelUrl": str(tmp_path / "archives" / "a")}
        answer = put(port, tmp_path, ask("POST", "/models/hash/invoke", PLAIN))
        assert (answer.status, answer.json()["model_name"]) == (200, "first.tar.gz")
        other = {"X-Amzn-SageMaker-Target-Model": "nope"}
        assert put(port, tmp_path, ask("DELETE", "/models/hash", headers=other)).status == 200
        assert put(port, tmp_path, ask("GET", "/models")).json() == {"models": []}


def test_of_a_model_that_came_and_went_nothing_stays(tmp_path: Path) -> None:
    with hosted(tmp_path, "multi", real=False) as (server, port):
        for archive in ("a", "ensemble", "broken", "large", "empty"):
            loaded = put(port, tmp_path, load("hash", archive)).status == 200
            assert loaded == (archive in ("a", "ensemble"))
            assert put(port, tmp_path, ask("DELETE", "/models/hash")).status == (200 if loaded else 404)
            assert server.exchange("POST", "/v2/repository/index").json() == []


def test_all_other_models_stay_when_one_goes(tmp_path: Path) -> None:
    with hosted(tmp_path, "multi", real=False) as (server, port):
        for name, archive in (("x", "a"), ("y", "ensemble")):
            assert put(port, tmp_path, load(name, archive)).status == 200
        assert put(port, tmp_path, ask("DELETE", "/models/x")).status == 200
        index = server.exchange("POST", "/v2/repository/index").json()
        assert [(one["name"], one["state"]) for one in index] == [("step", "READY"), ("y", "READY")]
        assert put(port, tmp_path, ask("POST", "/models/y/invoke", PLAIN)).status == 200


@pytest.mark.parametrize("inference", ["generate", "generate_stream"])
def test_invocations_can_mean_generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inference: str) -> None:
    """As newer servers than 2.51 have it."""
    monkeypatch.setenv("SAGEMAKER_TRITON_INFERENCE_TYPE", inference)
    with hosted(tmp_path, "single", real=False) as (_, port):
        answer = put(port, tmp_path, ask("POST", "/invocations", {"IN": 3.0}))
        assert answer.status == 200, answer.body
        if inference == "generate":
            assert answer.json()["OUT"] == 3
        else:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.body.startswith(b"data: {")
            assert answer.body.endswith(b"\n\n")


def test_what_one_event_loop_has_loaded_all_of_them_know(tmp_path: Path) -> None:
    with hosted(tmp_path, "multi", real=False, more=("--sagemaker-thread-count=3",)) as (_, port):
        assert put(port, tmp_path, load("x", "a")).status == 200
        connections = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(6)]
        try:  # dealt out among the loops
            for one in connections:
                one.sendall(request_bytes("POST", "/models/x/invoke", json.dumps(PLAIN).encode(), {}))
            assert [Exchange.read(one).status for one in connections] == [200] * 6
        finally:
            for one in connections:
                one.close()


def test_the_access_log_names_the_model_and_the_request(tmp_path: Path) -> None:
    log = tmp_path / "access"
    with hosted(tmp_path, "single", real=False, more=(f"--access-log={log}",)) as (server, port):
        assert put(port, tmp_path, ask("POST", "/invocations", {"id": "mine", **PLAIN})).status == 200
        server.terminate()
        assert server.wait() == 0
    (line,) = (one for one in map(json.loads, log.read_text().splitlines()) if one.get("path") == "/invocations")
    assert (line["model"], line["request_id"], line["status"]) == ("same", "mine", 200)


def test_the_environment_of_vertex_ai_alone_is_enough(tmp_path: Path) -> None:
    write_models(tmp_path / "models")
    (tmp_path / "models" / "other").rename(tmp_path / "other")
    environment = {**os.environ, **AIP, "AIP_MODE": "PREDICTION", "AIP_HTTP_PORT": "0"}
    environment["AIP_STORAGE_URI"] = str(tmp_path / "models")
    command = [sys.executable, "-m", "atoll", "serve", "--http-address=127.0.0.1", "--metrics-port=0"]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream, env=environment)
    with ServerProcess(process, log) as server:
        started = re.compile(r"Started Vertex AI HTTPService at 127.0.0.1:(\d+)")
        server.wait_for_log("Started Metrics Service")
        found = started.search(server.log_text())
        assert found is not None
        assert put(int(found[1]), tmp_path, ask("GET", "/h")).status == 200
        assert put(int(found[1]), tmp_path, ask("POST", "/p", PLAIN)).json()["model_name"] == "same"
        metrics = {"X-Vertex-Ai-Triton-Redirect": "metrics"}
        assert b"nv_inference_count" in put(int(found[1]), tmp_path, ask("POST", "/p", headers=metrics)).body
        assert "Started HTTPService" not in server.log_text()
        assert "Started GRPCInferenceService" not in server.log_text()
        server.terminate()
        assert server.wait() == 0


def start(tmp_path: Path, arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A server that is not to start; should it, it is ended."""
    ports = ["--http-port=0", "--grpc-port=0", "--metrics-port=0", "--http-address=127.0.0.1"]
    return subprocess.run(
        [sys.executable, "-m", "atoll", "serve", *arguments, *ports],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (["--allow-vertex-ai=true"], {}, "AIP_PREDICT_ROUTE is not defined for Vertex AI endpoint"),
        ([], {"AIP_MODE": "PREDICTION"}, "AIP_PREDICT_ROUTE is not defined for Vertex AI endpoint"),
        (["--allow-vertex-ai=true"], {"AIP_PREDICT_ROUTE": "/p"}, "AIP_HEALTH_ROUTE is not defined"),
        (["--allow-vertex-ai=true"], {**AIP, "AIP_HEALTH_ROUTE": "/p"}, "are both '/p'"),
        (["--allow-vertex-ai=true"], AIP, "Expect the model repository contains only a single model if default model"),
        (["--allow-vertex-ai", "--vertex-ai-default-model=no"], AIP, "Expect the default model 'no' is loaded"),
        ([], {"AIP_HTTP_PORT": "x"}, "AIP_HTTP_PORT=x: expected a port"),
        (["--allow-sagemaker"], {"SAGEMAKER_TRITON_PING_MODE": "x"}, "SAGEMAKER_TRITON_PING_MODE=x: expected live"),
        (["--allow-sagemaker"], {"SAGEMAKER_TRITON_INFERENCE_TYPE": "x"}, "expected one of infer, generate"),
        (["--allow-sagemaker", "--sagemaker-safe-port-range=9703"], {}, "requires format <first>-<last>"),
        (
            ["--allow-sagemaker", "--sagemaker-safe-port-range=9700-9703"],
            {},
            "The server cannot listen to HTTP requests at port 0, allowed port range is [9700, 9703]",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_start(
    tmp_path: Path, arguments: list[str], environment: Mapping[str, str], text: str
) -> None:
    write_models(tmp_path / "models")
    done = start(tmp_path, [f"--model-repository={tmp_path / 'models'}", *arguments], environment)
    assert done.returncode != 0
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    expect_alike(RECORDED, ask_again(record, tmp_path))
