"""Sends a server requests whose number is known, and reads what it counts: the statistics in both forms."""

import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from tests.conformance.metrics import families
from tests.conformance.process import ServerProcess, wait_until
from tests.conformance.statistics.statistics_repository import gate_of
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

PATIENCE_S = 60.0
SETTLED_S = 0.3
"""For so long nothing more may be counted, then all is: the real server counts after it has answered."""


COUNTERS = (
    *("nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count", "nv_inference_exec_count"),
    *("nv_inference_pending_request_count", "nv_cache_num_hits_per_model", "nv_cache_num_misses_per_model"),
)


class Counting:
    """Of a server whose models are those of statistics_repository.py, in `repository`."""

    def __init__(self, server: ServerProcess, channel: grpc.Channel, repository: Path) -> None:
        self.server = server
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._repository = repository

    # ---- requests

    def send(self, model: str, *numbers: int, rows: int = 1, fields: Mapping[str, Any] | None = None) -> Any:
        """A request of these numbers, or of so many rows of them, over gRPC; returns its future."""
        return self._stub.ModelInfer.future(message(model, numbers, rows, **(fields or {})), timeout=PATIENCE_S)

    def ask(self, model: str, *numbers: int, rows: int = 1, fields: Mapping[str, Any] | None = None) -> str:
        """The same, and what it ends with: OK, or the error's code."""
        return ended(self.send(model, *numbers, rows=rows, fields=fields))

    def post(self, model: str, document: Any) -> int:
        """The status of a request over HTTP."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.server.exchange("POST", f"/v2/models/{model}/infer", body=body).status

    def stream(self, model: str, *numbers: int) -> list[str]:
        """All responses to one request to a decoupled model: "data", "empty", or the error's text."""
        return [kind_of(one) for one in self.open_stream(model, *numbers)]

    def open_stream(self, model: str, *numbers: int) -> Any:
        """The same as a call that is still going on."""
        parameters = {"triton_enable_empty_final_response": pb.InferParameter(bool_param=True)}
        messages = iter([message(model, numbers, 0, parameters=parameters)])
        return self._stub.ModelStreamInfer(messages, timeout=PATIENCE_S)

    def load(self, model: str) -> int:
        return self.server.exchange("POST", f"/v2/repository/models/{model}/load").status

    def unload(self, model: str) -> int:
        """Waits until it is gone."""
        status = self.server.exchange("POST", f"/v2/repository/models/{model}/unload").status
        wait_until(lambda: self._state(model) not in ("READY", "UNLOADING"), f"{model} unloaded", self.server)
        return status

    def change(self, model: str) -> None:
        """Another code that does the same."""
        file = self._repository / model / "1" / "model.py"
        file.write_text(file.read_text() + "# changed\n")

    def _state(self, model: str) -> str:
        index = self.server.exchange("POST", "/v2/repository/index").json()
        return next((str(one.get("state", "")) for one in index if one["name"] == model), "")

    @contextmanager
    def closed(self, model: str) -> Iterator[Callable[[], None]]:
        """The model with its gate closed; gives what waits until an execution is at it. Leaving opens it."""
        gate = gate_of(self._repository.parent, model)
        gate.touch()
        try:
            yield lambda: wait_until(Path(f"{gate}.entered").exists, f"execution of {model}", self.server)
        finally:
            gate.unlink()

    def wait_pending(self, model: str, count: int) -> None:
        """Until so many requests wait in the model's queue."""
        wait_until(lambda: self.pending(model) == count, f"{count} requests that wait for {model}", self.server)

    def pending(self, model: str) -> int:
        samples = families(self.server)["nv_inference_pending_request_count"].samples
        return sum(int(one.value) for one in samples if one.labels["model"] == model)

    # ---- what is counted

    def document(self, model: str = "", version: str = "") -> list[dict[str, Any]]:
        """The statistics as the JSON document has them."""
        path = "/v2/models" + (f"/{model}" if model else "") + (f"/versions/{version}" if version else "")
        found: list[dict[str, Any]] = self.server.exchange("GET", f"{path}/stats").json()["model_stats"]
        return found

    def message(self, model: str = "", version: str = "") -> list[dict[str, Any]]:
        """The statistics as the call gives them, in the document's form."""
        answer = self._stub.ModelStatistics(pb.ModelStatisticsRequest(name=model, version=version), timeout=30)
        found = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        return [_as_document(one) for one in found["model_stats"]]

    def metrics(self, model: str) -> dict[str, int]:
        """The model's counters of requests on the metrics page that are not 0, by name and the other labels."""
        page = families(self.server)
        found = {}
        for name in COUNTERS:
            for one in page[name].samples if name in page else ():
                if one.labels["model"] == model and one.value:
                    others = [one.labels["version"], *([one.labels["reason"]] if "reason" in one.labels else [])]
                    found[" ".join([name, *others])] = int(one.value)
        return found

    def settled(self, *models: str) -> dict[str, list[dict[str, Any]]]:
        """The statistics of these models when nothing more is counted."""
        seen: Any = None
        since = time.monotonic()
        deadline = since + PATIENCE_S
        while time.monotonic() - since < SETTLED_S:
            now = {model: self.document(model) for model in models}
            if now != seen:
                seen, since = now, time.monotonic()
            assert since < deadline, "the statistics do not come to rest"
            time.sleep(0.02)
        found: dict[str, list[dict[str, Any]]] = seen
        return found

    def wait_count(self, model: str, kind: str, count: int) -> None:
        """Until so many requests of the model have had this end (success, fail)."""
        wait_until(
            lambda: sum(one["inference_stats"][kind]["count"] for one in self.document(model)) >= count,
            f"{count} of {kind} of {model}",
            self.server,
        )


def message(model: str, numbers: Sequence[int], rows: int, **fields: Any) -> pb.ModelInferRequest:
    """`rows` 0: the model does not batch."""
    shape = [rows, len(numbers)] if rows else [len(numbers)]
    tensor = pb.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="INT32", shape=shape)
    raw = struct.pack(f"<{len(numbers)}i", *numbers) * max(rows, 1)
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw], **fields)


def ended(future: Any) -> str:
    """How a request ended."""
    try:
        future.result(timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return str(error.code().name)
    except grpc.FutureCancelledError:
        return "CANCELLED"
    return "OK"


def kind_of(one: Any) -> str:
    if one.error_message:
        return "error"
    return "data" if one.infer_response.outputs else "empty"


def _as_document(model: dict[str, Any]) -> dict[str, Any]:
    """Integers of 64 bits are texts in protobuf's JSON; the names and versions are texts in the document too."""
    return {
        key: value if key in ("name", "version", "type") else _numbers(value)
        for key, value in {**_SUBDOCUMENTS, **model}.items()
    }


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item if key == "type" else _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return int(value)


_SUBDOCUMENTS: dict[str, Any] = {"response_stats": {}, "batch_stats": [], "memory_usage": []}
