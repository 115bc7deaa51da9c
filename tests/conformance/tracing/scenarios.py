"""What is asked of both servers about traces, trace context and headers: models, requests, and what is noted of each.

Points in time differ, and so does the order in which threads get to note them: compared are the names of what was
noted, each with how often, and who was made for whom.
"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
from tests.conformance.model_folders import write_model
from tests.conformance.process import ServerProcess, wait_until
from tests.conformance.wire import Exchange

_ECHO = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for one in requests:
            array = pb_utils.get_input_tensor_by_name(one, "IN").as_numpy()
            facts = json.dumps([sorted(json.loads(one.parameters()).items()), one.trace().get_context()])
            facts = np.array([[facts.replace('"', "'").encode()]] * len(array), dtype=object)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array), pb_utils.Tensor("FACTS", facts)]))
        return answers
"""
_CALLS = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for one in requests:
            more = {} if one.request_id() == "alone" else {"trace": one.trace()}
            inner = pb_utils.InferenceRequest(
                request_id="inner",
                model_name="echo",
                inputs=[pb_utils.get_input_tensor_by_name(one, "IN")],
                requested_output_names=["OUT", "FACTS"],
                **more,
            )
            answers.append(pb_utils.InferenceResponse(inner.exec().output_tensors()))
        return answers
"""
_FAILING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("it fails")) for _ in requests]
"""
_STREAM = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for one in requests:
            array = pb_utils.get_input_tensor_by_name(one, "IN")
            sender = one.get_response_sender()
            for _ in range(2):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array.as_numpy())]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
_TENSORS = (
    'input [{ name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }]\n'
    'output [{ name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] }, '
    '{ name: "FACTS" data_type: TYPE_STRING dims: [ 1 ] }]\n'
)
_STEPS = """
platform: "ensemble"
ensemble_scheduling { step [
  { model_name: "echo" model_version: -1
    input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "middle" } },
  { model_name: "calls" model_version: -1 input_map { key: "IN" value: "middle" }
    output_map { key: "OUT" value: "OUT" } output_map { key: "FACTS" value: "FACTS" } }
] }
"""
_MODELS = {
    "echo": (_ECHO, ""),
    "calls": (_CALLS, ""),
    "failing": (_FAILING, ""),
    "stream": (_STREAM, "model_transaction_policy { decoupled: true }"),
    "cached": (_ECHO, "response_cache { enable: true }"),
    "batched": (_ECHO, "dynamic_batching { preferred_batch_size: [ 2 ] max_queue_delay_microseconds: 500000 }"),
}
CACHE = "--cache-config=local,size=1048576"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def write_models(repository: Path) -> Path:
    for name, (code, more) in _MODELS.items():
        config = (
            f'backend: "python"\nmax_batch_size: 8\n{_TENSORS}instance_group [{{ count: 1 kind: KIND_CPU }}]\n{more}\n'
        )
        write_model(repository, name, config, code)
    write_model(repository, "steps", f"max_batch_size: 8\n{_TENSORS}{_STEPS}")
    return repository


def infer(
    server: ServerProcess,
    model: str,
    id: str = "",
    headers: dict[str, str] | None = None,
    parameters: dict[str, Any] | None = None,
) -> Exchange:
    tensor = {"name": "IN", "datatype": "INT32", "shape": [1, 2], "data": [1, 2]}
    body: dict[str, Any] = {"inputs": [tensor]}
    if id:
        body["id"] = id
    if parameters:
        body["parameters"] = parameters
    return server.exchange("POST", f"/v2/models/{model}/infer", body=json.dumps(body).encode(), headers=headers)


def infer_grpc(server: ServerProcess, model: str, id: str, headers: dict[str, str] | None = None) -> Any:
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        return client.infer(model, [_grpc_input()], request_id=id, headers=headers)


def stream_grpc(server: ServerProcess, model: str, id: str, responses: int) -> None:
    got: list[Any] = []
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: got.append(error or result))
        client.async_stream_infer(model, [_grpc_input()], request_id=id)
        wait_until(lambda: len(got) == responses, f"{responses} responses", server)
        client.stop_stream()


def _grpc_input() -> Any:
    tensor = tritonclient.grpc.InferInput("IN", [1, 2], "INT32")
    tensor.set_data_from_numpy(np.array([[1, 2]], np.int32))
    return tensor


def ask_everything(server: ServerProcess) -> None:
    """Each kind of request once, one after the other but for those of a batch."""
    infer(server, "echo", "plain")
    infer(server, "echo")
    infer(server, "calls", "caller")
    infer(server, "calls", "alone")
    infer(server, "steps", "whole")
    infer(server, "failing", "failing")
    infer(server, "cached", "missed")
    infer(server, "cached", "hit")
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda name: infer(server, "batched", name), ("first", "second")))
    infer_grpc(server, "echo", "grpc")
    stream_grpc(server, "echo", "streamed", 1)
    stream_grpc(server, "stream", "decoupled", 2)


def read_entries(folder: Path) -> list[dict[str, Any]]:
    """All traces of a server, those of indexed files in the files' order."""
    paths = sorted(folder.glob("trace.json*"), key=lambda path: (len(path.name), path.name))
    return [entry for path in paths for entry in json.loads(path.read_text())]


def summary(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As a reader of such files puts them together: by id. Sorted, as the ids of requests in one batch may differ."""
    found: dict[int, dict[str, Any]] = {}
    for entry in entries:
        one = found.setdefault(entry["id"], {"noted": Counter(), "tensors": []})
        for stamp in entry.get("timestamps", ()):
            assert stamp["ns"] > 0
            one["noted"][stamp["name"]] += 1
        if "activity" in entry:
            one["tensors"].append([entry["activity"], *entry["tensor"].values()])
        if "model_name" in entry:
            one["model"] = [entry["model_name"], entry["model_version"], entry.get("request_id")]
            one["parent"] = entry.get("parent_id")
    described = [
        {
            "model": one.get("model"),
            "parent": found[one["parent"]].get("model") if one.get("parent") else None,
            "noted": dict(sorted(one["noted"].items())),
            "tensors": sorted(one["tensors"]),
        }
        for one in found.values()
    ]
    return sorted(described, key=json.dumps)


def spans(entries: list[dict[str, Any]]) -> dict[int, dict[str, int]]:
    """When each thing was noted, by id; the first time, where it was several times."""
    found: dict[int, dict[str, int]] = {}
    for entry in entries:
        for stamp in entry.get("timestamps", ()):
            found.setdefault(entry["id"], {}).setdefault(stamp["name"], stamp["ns"])
    return found


def facts(exchange: Exchange) -> str:
    """What the model saw: parameters and trace context."""
    text: str
    document = exchange.json()
    [text] = [one["data"][0] for one in document["outputs"] if one["name"] == "FACTS"]
    return text


HEADERS: tuple[tuple[dict[str, str], dict[str, Any]], ...] = (
    ({}, {}),
    ({"x-one": "a"}, {}),
    ({"X-One": "a", "X-TWO": "b"}, {}),
    ({"y": "c", "ax-one": "found inside"}, {}),
    ({"x-one": "a"}, {"x-one": "mine", "other": 5}),
    ({"x-one": "with blanks", "x-sign": "a=b;c,d"}, {}),
    ({"x-user": "\u00e9"}, {}),
    ({"traceparent": PARENT}, {}),
    ({"priority": "9", "timeout": "4"}, {}),
    ({"headers": "z"}, {"headers": 1}),
)


def ask_headers(server: ServerProcess) -> list[Any]:
    """What a model sees of each set of headers: its parameters."""
    found = []
    for headers, parameters in HEADERS:
        answer = infer(server, "echo", "", headers, parameters)
        text = facts(answer)
        found.append([headers, parameters, answer.status, text.rpartition(", ")[0]])
    return found


def ask_grpc_headers(server: ServerProcess) -> list[Any]:
    """The same over gRPC."""
    found = []
    for headers in ({}, {"x-one": "a"}, {"x-one": "a", "x-two": "b", "ax-one": "c", "y": "d"}):
        result = infer_grpc(server, "echo", "", headers)
        found.append([headers, result.as_numpy("FACTS")[0][0].decode().rpartition(", ")[0]])
    return found
