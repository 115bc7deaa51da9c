"""Loading, unloading and listing models through the official clients, and by many at once."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tests.conformance.clients import KINDS, AnyClient, any_client, pair
from tests.conformance.models import write_onnx_repository
from tests.conformance.onnx_models import identity_model
from tests.conformance.process import ServerProcess, start_atoll, wait_until
from tritonclient.utils import InferenceServerException

CONFIG = {
    "backend": "onnxruntime",
    "max_batch_size": 0,
    "input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [2, 3]}],
    "output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [2, 3]}],
    "instance_group": [{"kind": "KIND_CPU", "count": 2}],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """With nothing loaded at first; every test unloads what it loads."""
    folder = tmp_path_factory.mktemp("control")
    repository = write_onnx_repository(folder / "models", "matrix", "simple", "two_versions")
    with start_atoll(repository, folder / "log", "--model-control-mode=explicit") as server:
        yield server


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[AnyClient]:
    with any_client(request.param, server) as client:
        yield client
        for name in ("matrix", "simple", "two_versions", "new"):
            client.call("unload_model", name)
    _settle(server)


def _settle(server: ServerProcess) -> None:
    wait_until(lambda: "UNLOADING" not in server.exchange("POST", "/v2/repository/index").body.decode(), "rest", server)


def index(client: AnyClient) -> dict[tuple[str, str], str]:
    """Name and version of each line to its state."""
    document = client.call("get_model_repository_index")
    lines = document.get("models", []) if isinstance(document, dict) else document
    return {(line["name"], line.get("version", "")): line.get("state", "") for line in lines}


def ones(client: AnyClient, model: str) -> Any:
    return client.infer(model, {"INPUT0": np.ones((2, 3), np.float32)}).as_numpy("OUTPUT0")


def test_load_and_unload(client: AnyClient) -> None:
    assert not client.call("is_model_ready", "simple")
    client.call("load_model", "simple")
    assert client.call("is_model_ready", "simple")
    assert index(client)["simple", "1"] == "READY"
    assert client.infer("simple", pair()).as_numpy("OUTPUT0").shape == (1, 16)
    client.call("unload_model", "simple", unload_dependents=True)
    assert not client.call("is_model_ready", "simple")
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'simple' has no available versions"):
        client.infer("simple", pair())


def test_versions(client: AnyClient) -> None:
    client.call("load_model", "two_versions")
    found = index(client)
    assert (found["two_versions", "1"], found["two_versions", "3"]) == ("READY", "READY")


def test_a_configuration_of_the_request(client: AnyClient) -> None:
    client.call("load_model", "matrix", config=json.dumps(CONFIG))
    assert client.config("matrix")["instance_group"][0]["count"] == 2
    assert ones(client, "matrix").sum() == 6
    with pytest.raises(InferenceServerException, match="failed to load 'matrix', failed to poll from model repository"):
        client.call("load_model", "matrix", config='{"nofield":1}')
    for wrong, cause in (
        ('"name":"other"', "directory name must equal"),
        ('"max_batch_size":-1', "must be non-negative"),
    ):
        with pytest.raises(InferenceServerException, match=f"load failed for model 'matrix': .*{cause}"):
            client.call("load_model", "matrix", config=f"{{{wrong}}}")
    assert ones(client, "matrix").sum() == 6


def test_files_of_the_request(client: AnyClient) -> None:
    model = identity_model("fp32", [2, 3])
    client.call("load_model", "new", config=json.dumps(CONFIG), files={"file:7/model.onnx": model})
    assert ones(client, "new").sum() == 6
    assert index(client)["new", "7"] == "READY"
    with pytest.raises(InferenceServerException, match="'config' must be specified for model file override"):
        client.call("load_model", "new", files={"file:7/model.onnx": model})
    for path in ("file:../model.onnx", "file:/etc/model.onnx", "file:7/../../model.onnx"):
        with pytest.raises(InferenceServerException, match=f"Invalid file parameter '{path}'"):
            client.call("load_model", "new", config=json.dumps(CONFIG), files={path: model})
    assert ones(client, "new").sum() == 6


@pytest.mark.parametrize("name", ["nope", "%2e%2e", "x" * 300])
def test_models_that_are_not_there(client: AnyClient, name: str) -> None:
    with pytest.raises(InferenceServerException, match="failed to poll from model repository"):
        client.call("load_model", name)
    client.call("unload_model", name)


def test_a_name_that_leads_out_of_the_repository(server: ServerProcess) -> None:
    answer = server.exchange("POST", "/v2/repository/models/../load")
    assert (answer.status, "failed to poll from model repository" in answer.error) == (500, True)


def test_clients_that_load_and_unload_the_same_model_at_once(server: ServerProcess) -> None:
    """Every answer is one of those that the state of the moment allows, and none says that something broke."""
    end = time.monotonic() + 3
    found: set[tuple[int, str]] = set()
    lock = threading.Lock()

    def note(status: int, error: str) -> None:
        with lock:
            found.add((status, error))

    def change(action: str) -> None:
        while time.monotonic() < end:
            answer = server.exchange("POST", f"/v2/repository/models/simple/{action}")
            note(answer.status, answer.body.decode())

    def infer() -> None:
        with any_client("grpc", server) as client:
            while time.monotonic() < end:
                try:
                    first = client.infer("simple", pair()).as_numpy("OUTPUT0")
                    assert (first == np.arange(1, 17)).all()
                except InferenceServerException as error:
                    note(503, str(error))

    with ThreadPoolExecutor(6) as executor:
        running = [executor.submit(change, action) for action in ("load", "unload", "load", "unload")]
        running += [executor.submit(infer) for _ in range(2)]
        for one in running:
            one.result(60)
    errors = {error for status, error in found if status != 200}
    allowed = ("has no available versions", "is not found", "is not at ready state")
    assert not [error for error in errors if not any(text in error for text in allowed)]
    assert {status for status, _ in found} <= {200, 503}
    assert server.exchange("POST", "/v2/repository/models/simple/load").status == 200
    with any_client("http", server) as client:
        assert client.infer("simple", pair()).as_numpy("OUTPUT0").shape == (1, 16)
        client.call("unload_model", "simple")
    _settle(server)
