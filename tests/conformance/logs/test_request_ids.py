"""What a Python model says while it executes one request carries that request's id, wherever the model runs."""

import json
from collections.abc import Iterator

import pytest
import tritonclient.grpc
from tests.conformance.process import ServerProcess, start_atoll, wait_until
from tritonclient.utils import InferenceServerException

WHERE = {"process": "", "thread": "", "coroutine": "async "}
MODEL = """
import asyncio
import triton_python_backend_utils as pb

class TritonPythonModel:
    {coroutine}def execute(self, requests):
        asked = requests[0].request_id()
        pb.Logger.log_info(f"info for '{{asked}}'")
        {wait}
        pb.Logger.log_verbose(f"detail for '{{asked}}'")
        if asked.startswith("bad"):
            raise ValueError(f"told to fail by '{{asked}}'")
        pb.Logger.log_info(f"end for '{{asked}}'")
        tensors = [pb.get_input_tensor_by_name(one, "IN").as_numpy() for one in requests]
        return [pb.InferenceResponse([pb.Tensor("OUT", one)]) for one in tensors]
"""
CONFIG = """
backend: "python"
input [{ name: "IN" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [1] }]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("request_ids")
    for name, coroutine in WHERE.items():
        directory = folder / "models" / name
        (directory / "1").mkdir(parents=True)
        isolation = 'parameters: { key: "isolation" value: { string_value: "thread" } }' if name == "thread" else ""
        (directory / "config.pbtxt").write_text(CONFIG + isolation)
        wait = "await asyncio.sleep(0.01)" if coroutine else ""
        (directory / "1" / "model.py").write_text(MODEL.format(coroutine=coroutine, wait=wait))
    with start_atoll(folder / "models", folder / "log") as server:
        yield server


def said(server: ServerProcess, model: str, request_id: str, *, end: str = "end") -> list[str]:
    """The lines about one execution: the text after the place, as it stands there."""
    before = len(server.log_text())
    document = {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1], "data": [1]}]}
    if request_id:
        document["id"] = request_id  # type: ignore[assignment]
    server.exchange("POST", f"/v2/models/{model}/infer", body=json.dumps(document).encode())
    wait_until(lambda: f"{end} " in server.log_text()[before:], end, server)
    lines = server.log_text()[before:].splitlines()
    return [json.loads(line.partition("] ")[2]) for line in lines]


def verbose(server: ServerProcess, level: int) -> None:
    body = json.dumps({"log_verbose_level": level}).encode()
    assert server.exchange("POST", "/v2/logging", body=body).json()["log_verbose_level"] == level


@pytest.mark.parametrize("model", WHERE)
def test_each_line_carries_the_id_of_its_request_and_no_other(server: ServerProcess, model: str) -> None:
    label = f"[request id: one] [{model}:1] [{model}_0] "
    assert said(server, model, "one") == [f"{label}info for 'one'", f"{label}end for 'one'"]
    plain = f"[{model}:1] [{model}_0] "
    assert said(server, model, "") == [f"{plain}info for ''", f"{plain}end for ''"]


@pytest.mark.parametrize("model", WHERE)
def test_what_it_fails_with_carries_it_too(server: ServerProcess, model: str) -> None:
    lines = said(server, model, "bad one", end="Failed to process")
    assert all(line.startswith(f"[request id: bad one] [{model}:1] [{model}_0] ") for line in lines)
    assert lines[-1].endswith("ValueError: told to fail by 'bad one'")


@pytest.mark.parametrize("model", WHERE)
def test_details_are_switched_while_the_model_runs(server: ServerProcess, model: str) -> None:
    detail = f"[request id: x] [{model}:1] [{model}_0] detail for 'x'"
    assert detail not in said(server, model, "x")
    verbose(server, 1)
    assert detail in said(server, model, "x")
    verbose(server, 0)
    assert detail not in said(server, model, "x")


def test_the_verbose_log_tells_of_requests_that_fail(server: ServerProcess) -> None:
    verbose(server, 1)
    body = json.dumps({"id": "wrong\nE1121", "inputs": []}).encode()
    server.exchange("POST", "/v2/models/thread/infer", body=body, headers={"X-Request-Id": "unused"})
    server.exchange("POST", "/v2/models/thread/infer", body=b"{", headers={"X-Request-Id": "used"})
    verbose(server, 0)
    server.wait_for_log('"[request id: used] [thread:1] Infer failed: ')
    server.wait_for_log('"[request id: wrong\\nE1121] [thread:1] Infer failed: ')


def change(server: ServerProcess, **settings: object) -> None:
    assert server.exchange("POST", "/v2/logging", body=json.dumps(settings).encode()).status == 200


def test_in_json_each_has_its_model_and_version(server: ServerProcess) -> None:
    change(server, log_format="json", log_verbose_level=1)
    before = len(server.log_text())
    for path, rest in (
        ("thread/infer", ', "inputs": []'),
        ("thread/generate", ""),
        ("nothing/versions/7/infer", ', "inputs": []'),
    ):
        server.exchange("POST", f"/v2/models/{path}", body=f'{{"id": "wrong"{rest}}}'.encode())
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        for model in ("coroutine", "nobody"):
            with pytest.raises(InferenceServerException):
                client.infer(model, [], request_id="over gRPC")
        told: list[object] = []
        client.start_stream(lambda result, error: told.append(error))
        client.async_stream_infer("process", [], request_id="in a stream")
        wait_until(lambda: bool(told), "the stream's error", server)
        client.stop_stream()
    tensor = {"name": "IN", "datatype": "FP32", "shape": [1], "data": [1]}
    body = json.dumps({"id": "right", "inputs": [tensor]}).encode()
    assert server.exchange("POST", "/v2/models/process/infer", body=body).status == 200
    wait_until(lambda: "end for 'right'" in server.log_text()[before:], "the model's lines", server)
    change(server, log_format="default", log_verbose_level=0)
    lines = [json.loads(line) for line in server.log_text()[before:].splitlines() if line.startswith("{")]
    about = [
        (one["request_id"], one["model"], one.get("version"), one.get("instance"))
        for one in lines
        if "request_id" in one
    ]
    assert about == [
        ("wrong", "thread", "1", None),
        ("wrong", "thread", "1", None),
        ("wrong", "nothing", "7", None),
        ("over gRPC", "coroutine", "1", None),
        ("over gRPC", "nobody", None, None),
        ("in a stream", "process", "1", None),
        *[("right", "process", "1", "process_0")] * 3,
    ]
