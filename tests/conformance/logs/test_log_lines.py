"""The lines of the log compared with the real server's, and the files of a server process that are rotated."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.logs.line_scenarios import SCENARIOS, lines_of, write_model
from tests.conformance.logs.record_log_lines import record
from tests.conformance.process import ServerProcess, free_ports, start_atoll, wait_until
from tests.conformance.questions import ask
from tests.conformance.recording import read_record

RECORDED = read_record("log_lines")
INSTANCE = "[speaker:1] [speaker_0] "  # Atoll says which instance speaks


def test_each_scenario_has_its_record() -> None:
    assert list(RECORDED) == list(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_a_model_says_looks_as_in_the_real_servers_log(name: str, tmp_path: Path) -> None:
    lines = lines_of(start_quietly, SCENARIOS[name], tmp_path)
    assert all(INSTANCE in text for _, _, text in lines)
    assert [[severity, number, text.replace(INSTANCE, "", 1)] for severity, number, text in lines] == RECORDED[name]


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_writes(tmp_path: Path) -> None:
    assert ask_again(record, tmp_path) == RECORDED


def infer(server: ServerProcess, request_id: str, *, headers: dict[str, str] | None = None) -> None:
    document = {"id": request_id, "inputs": [{"name": "IN", "datatype": "FP32", "shape": [1], "data": [1]}]}
    question = ask("", document)
    answer = server.exchange("POST", "/v2/models/speaker/infer", body=question.body, headers=headers or {})
    assert answer.status == 200


def documents(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_logs_follow_rotation_and_end_whole(tmp_path: Path) -> None:
    log, access = tmp_path / "log.json", tmp_path / "access.json"
    log.write_text('{"message":"before"}\n')
    models = write_model(tmp_path / "models")
    arguments = (f"--log-file={log}", "--log-format=json", f"--access-log={access}")
    with start_quietly(models, tmp_path / "console", *arguments) as server:
        infer(server, "first", headers={"X-Request-Id": "abc"})
        wait_until(
            lambda: '"first"' in access.read_text() and '"first"' in log.read_text(), "the first request", server
        )
        log.rename(tmp_path / "log.1")
        access.rename(tmp_path / "access.1")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: _both_anew(server, log, access), "files in the old ones' places", server)
        infer(server, "second")
        server.terminate()
        assert server.wait() == 0
    assert documents(tmp_path / "log.1")[0] == {"message": "before"}
    said = {one.get("request_id") for one in documents(log)}
    assert "second" in said
    assert "first" not in said
    assert documents(log)[-1]["message"].startswith("successfully unloaded")
    one = next(line for line in documents(tmp_path / "access.1") if line.get("model") == "speaker")
    assert (one["request_id"], one["x_request_id"], one["version"]) == ("first", "abc", "1")
    assert one["queue_us"] + one["compute_us"] <= one["duration_us"]
    lines = [line["request_id"] for line in documents(access) if line.get("model") == "speaker"]
    assert lines[-1] == "second"
    assert "first" not in lines


def _both_anew(server: ServerProcess, log: Path, access: Path) -> bool:
    """A file is opened anew by the first line after the signal, which the server may hear a little late."""
    infer(server, "meanwhile")
    return log.exists() and access.exists()


def start_quietly(
    models: Path, console: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> ServerProcess:
    """Its console need not say its ports: they are chosen for it."""
    names = ("http", "grpc", "metrics")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    options += [f"--{name}-address=127.0.0.1" for name in names]
    command = [sys.executable, "-m", "atoll", "serve", f"--model-repository={models}", *options, *arguments]
    with console.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    server = ServerProcess(process, console, ports)

    def ready() -> bool:
        try:
            return server.exchange("GET", "/v2/health/ready").status == 200
        except OSError:
            return False

    wait_until(ready, "readiness", server)
    return server


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--log-file=/nowhere/log", "the log's file '/nowhere/log' cannot be written: No such file or directory"),
        ("--access-log=/nowhere/log", "the access log '/nowhere/log' cannot be written: No such file or directory"),
        ("--log-format=xml", "--log-format"),
        ("--log-verbose=-1", "--log-verbose"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(argument: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(AssertionError, match="before the server ended"):
        start_atoll(tmp_path / "models", tmp_path / "console", argument)
    assert said in (tmp_path / "console").read_text()
