"""The server ends while models are being loaded."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tests.conformance.gated import PLUGIN, TENSORS, GatedServer, start_gated
from tests.conformance.process import ServerProcess
from tests.conformance.wire import Exchange
from tritonclient.grpc import service_pb2, service_pb2_grpc

INFER = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [7]}]}).encode()
EXPLICIT = "--model-control-mode=explicit"
LEFT_BEHIND = "Exit timeout expired. Exiting immediately"


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GatedServer]:
    """A server of the test's own, with the options that it is parametrized with."""
    with start_gated(tmp_path, *request.node.callspec.params["options"]) as gated:
        yield gated


def load_over_http(server: ServerProcess) -> Exchange:
    return server.exchange("POST", "/v2/repository/models/plain/load", timeout_s=60)


def infer_over_http(server: ServerProcess) -> Exchange:
    return server.exchange("POST", "/v2/models/plain/infer", body=INFER, timeout_s=60)


@pytest.mark.parametrize("options", [(EXPLICIT,), (EXPLICIT, "--grpc-transport=grpcio")])
def test_a_load_that_has_begun_is_finished_and_answered(server: GatedServer, options: tuple[str, ...]) -> None:
    process = server.process
    with (
        server.loading_held("plain") as gate,
        server.loading_held("unbatched") as other_gate,
        ThreadPoolExecutor(1) as threads,
        grpc.insecure_channel(process.grpc) as channel,
    ):
        over_http = threads.submit(load_over_http, process)
        server.wait_loading("plain")
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        over_grpc = stub.RepositoryModelLoad.future(service_pb2.RepositoryModelLoadRequest(model_name="unbatched"))
        server.wait_loading("unbatched")
        process.terminate()
        process.wait_for_log("Waiting for in-flight requests to complete.")
        gate.unlink()
        other_gate.unlink()
        assert over_http.result(60).status == 200
        assert over_grpc.exception(60) is None
        assert process.wait() == 0


@pytest.mark.parametrize("options", [(EXPLICIT, "--exit-timeout-secs=1")])
def test_a_load_that_does_not_end_is_left_behind(server: GatedServer, options: tuple[str, ...]) -> None:
    process = server.process
    with server.loading_held("plain"), ThreadPoolExecutor(1) as threads:
        loading = threads.submit(load_over_http, process)
        server.wait_loading("plain")
        process.terminate()
        assert process.wait(30) in (0, 1)
        assert loading.result(30).status == 0  # the connection ends without an answer


@pytest.mark.parametrize("options", [("--model-memory-budget=1GiB",)])
def test_a_request_that_waits_for_its_model_is_answered(server: GatedServer, options: tuple[str, ...]) -> None:
    process = server.process
    with server.loading_held("plain") as gate, ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(infer_over_http, process) for _ in range(2)]
        server.wait_loading("plain")
        process.terminate()
        process.wait_for_log("Waiting for in-flight requests to complete.")
        gate.unlink()
        for one in waiting:
            assert one.result(60).status in (200, 503)
        assert process.wait() == 0


@pytest.mark.parametrize("options", [("--model-memory-budget=1GiB", "--exit-timeout-secs=1")])
def test_a_model_that_never_wakes_does_not_keep_the_server(server: GatedServer, options: tuple[str, ...]) -> None:
    process = server.process
    with server.loading_held("plain"), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(infer_over_http, process)
        server.wait_loading("plain")
        process.terminate()
        assert process.wait(30) in (0, 1)
        assert waiting.result(30).status == 0


@pytest.mark.parametrize("ends", [True, False])
def test_a_server_that_is_still_loading_ends_too(tmp_path: Path, ends: bool) -> None:
    models, gate = tmp_path / "models", tmp_path / "slow.gate"
    (models / "slow" / "1").mkdir(parents=True)
    (models / "slow" / "1" / "model.gate").touch()
    (models / "slow" / "config.pbtxt").write_text(
        f'backend: "gated" {TENSORS} parameters {{ key: "gate" value {{ string_value: "{gate}" }} }}'
    )
    held = gate.with_suffix(".load")
    held.touch()
    command = [sys.executable, "-m", "atoll", "serve", str(models), "--exit-timeout-secs=1"]
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not gate.with_suffix(".loading").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        if ends:
            held.unlink()
        _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "signal received while models were being loaded" in log
    assert "Traceback" not in log
