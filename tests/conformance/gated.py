"""A server whose models wait at a gate, so that a test decides what is being executed, and what waits behind it."""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from tests.conformance.metrics import pending_requests
from tests.conformance.process import ServerProcess, start_atoll, wait_until
from tritonclient.grpc import service_pb2, service_pb2_grpc

PLUGIN = Path(__file__).parent / "gated_backend"
MODELS = {
    "plain": "max_batch_size: 0",
    "unbatched": "max_batch_size: 8",
    "batched": "max_batch_size: 8 dynamic_batching { }",
    "preferred": "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 4 ] }",
    "patient": "max_batch_size: 8 dynamic_batching { preferred_batch_size: 4 max_queue_delay_microseconds: 600000000 }",
    "limited": 'max_batch_size: 0 parameters { key: "deadline_seconds" value { string_value: "0.3" } }',
    "hasty": "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 50000 }",
}
TENSORS = " ".join(
    f'{side} [ {{ name: "{side.upper()}0" data_type: TYPE_INT32 dims: [ 1 ] }} ]' for side in ("input", "output")
)


class GatedServer:
    """Atoll with the models of `MODELS`. A context manager, as its process is."""

    def __init__(self, process: ServerProcess, gates: Path) -> None:
        self.process = process
        self._gates = gates

    @contextmanager
    def closed(self, model: str) -> Iterator["GatedModel"]:
        """The model with its gate closed; leaving opens it."""
        gate = self._gates / f"{model}.gate"
        gate.touch()
        with grpc.insecure_channel(self.process.grpc) as channel:
            try:
                yield GatedModel(self.process, channel, model, gate)
            finally:
                gate.unlink(missing_ok=True)

    @contextmanager
    def loading_held(self, model: str) -> Iterator[Path]:
        """Whoever loads the model waits until this is left, or the file that it gives is removed."""
        gate = self._gates / f"{model}.load"
        gate.touch()
        try:
            yield gate
        finally:
            gate.unlink(missing_ok=True)

    def wait_loading(self, model: str) -> None:
        """Until somebody loads the model."""
        wait_until((self._gates / f"{model}.loading").exists, f"load of {model}", self.process)

    def __enter__(self) -> "GatedServer":
        return self

    def __exit__(self, *details: Any) -> None:
        self.process.__exit__(*details)


class GatedModel:
    """One model behind its gate: sends requests to it, and waits for what they lead to."""

    def __init__(self, server: ServerProcess, channel: grpc.Channel, name: str, gate: Path) -> None:
        self.server, self.name = server, name
        self._gate = gate
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

    def send(self, value: int, rows: int = 1) -> Any:
        """A request of `rows` rows of that value, over gRPC; returns its future."""
        shape = [1] if self.name in ("plain", "limited") else [rows, 1]
        tensor = service_pb2.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="INT32", shape=shape)
        data = struct.pack("<i", value) * rows
        message = service_pb2.ModelInferRequest(model_name=self.name, inputs=[tensor], raw_input_contents=[data])
        return self._stub.ModelInfer.future(message, timeout=120)

    def wait_executing(self) -> None:
        """Until an execution is at the gate."""
        entered = self._gate.with_suffix(".entered")
        wait_until(entered.exists, f"execution of {self.name}", self.server)

    def wait_queued(self, count: int) -> None:
        """Until so many requests wait for the instance."""
        wait_until(lambda: pending_requests(self.server, self.name) == count, f"{count} waiting requests", self.server)

    def hold(self, rows: Sequence[int] = ()) -> list[Any]:
        """The futures of a request at the gate and, behind it in this order, one of each of these numbers of rows."""
        futures = [self.send(-1)]
        self.wait_executing()
        for count, number in enumerate(rows, start=1):
            futures.append(self.send(count, number))
            self.wait_queued(count)
        return futures

    def live(self) -> bool:
        """Ask whether the server is alive, on the connection of the requests."""
        return bool(self._stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=30).live)

    def open(self) -> None:
        self._gate.unlink()

    def batches(self) -> dict[int, int]:
        """How many executions there have been, by batch size."""
        answer = self.server.exchange("GET", f"/v2/models/{self.name}/stats")
        (statistics,) = answer.json()["model_stats"]
        return {one["batch_size"]: one["compute_infer"]["count"] for one in statistics["batch_stats"]}


def start_gated(folder: Path, *arguments: str) -> GatedServer:
    """A server of its own; `folder` gets its models, gates and log."""
    gates, models = folder / "gates", folder / "models"
    gates.mkdir()
    for name, batching in MODELS.items():
        (models / name / "1").mkdir(parents=True)
        (models / name / "1" / "model.gate").touch()
        gate = f'parameters {{ key: "gate" value {{ string_value: "{gates / name}.gate" }} }}'
        (models / name / "config.pbtxt").write_text(f'backend: "gated" {batching} {TENSORS} {gate}\n')
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN)}
    return GatedServer(start_atoll(models, folder / "log", *arguments, environment=environment), gates)
