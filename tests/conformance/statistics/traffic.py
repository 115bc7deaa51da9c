"""Known traffic to a server in this process, through its three doors, and a ledger of what was sent and came back."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
from tests.conformance.models import write_onnx_repository
from tests.conformance.process import ServerProcess
from tests.conformance.statistics.counting import PATIENCE_S, Counting, ended, kind_of
from tests.conformance.statistics.statistics_repository import write_counted

import atoll
from atoll.errors import AtollError, InvalidArgumentError
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor

DOORS = ("http", "grpc", "process")
FUNCTION = "halved"
ONNX = "preferred"  # of tests/conformance/models.py
UNBATCHED = ("plain", "versions", "many", "many_fail", "many_cancelled", "again", "chain_many", "step_many")
CACHE = "local,size=1048576"


@dataclass
class Sent:
    """To one version of a model: how many requests had which end, and the responses by their place."""

    success: int = 0
    items: int = 0
    executed: int = 0  # of the successes; the others the response cache has answered
    missed: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    responses: Counter[tuple[int, str]] = field(default_factory=Counter)


class Ledger:
    """By model and version. Thread-safe."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, str], Sent] = {}
        self._lock = threading.Lock()

    def note(
        self,
        model: str,
        version: str = "1",
        *,
        success: int = 0,
        items: int = 0,
        hits: int = 0,
        missed: int = 0,
        failed: str = "",
        refused: str = "",
        responses: Sequence[str] = (),
    ) -> None:
        with self._lock:
            one = self.sent.setdefault((model, version), Sent())
            one.success += success + hits
            one.executed += success
            one.items += items
            one.missed += missed
            one.failures.update([failed] if failed else [])
            one.refused.update([refused] if refused else [])
            one.responses.update(enumerate(responses))


class Collecting:
    """A ResponseSender that keeps the kinds of all responses until the final one."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self._over = threading.Event()

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self.kinds.append("error" if response.error is not None else "data")
        if final:
            self._over.set()

    def wait(self) -> list[str]:
        assert self._over.wait(PATIENCE_S), "a request was never answered"
        return self.kinds


class Traffic:
    """Sends requests to a server, and notes in the ledger what it must have counted of them."""

    def __init__(self, server: atoll.Server, on: Counting) -> None:
        self.server, self.on = server, on
        self.ledger = Ledger()

    def ask(self, door: str, model: str, *numbers: int, rows: int = 1, version: str = "") -> bool:
        """One request; whether it succeeded. Nothing is noted."""
        shape = (len(numbers),) if model in UNBATCHED else (rows, len(numbers))
        values = np.broadcast_to(np.array(numbers, np.int32), shape)
        if door == "process":
            try:
                self.server.infer(model, {"INPUT0": values}, model_version=version, timeout=PATIENCE_S)
            except AtollError:
                return False
            return True
        if door == "grpc":
            sent_rows = 0 if model in UNBATCHED else rows
            return self.on.ask(model, *numbers, rows=sent_rows, fields={"model_version": version}) == "OK"
        tensor = {"name": "INPUT0", "datatype": "INT32", "shape": list(shape), "data": values.ravel().tolist()}
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
        body = json.dumps({"inputs": [tensor]}).encode()
        return self.on.server.exchange("POST", f"{path}/infer", body=body).status == 200

    def succeed(self, door: str, model: str, *numbers: int, rows: int = 1, version: str = "") -> None:
        assert self.ask(door, model, *numbers, rows=rows, version=version), f"{model} failed over {door}"
        self.ledger.note(model, version or "1", success=1, items=1 if model in UNBATCHED else rows)

    def fail(self, door: str, model: str, number: int, reason: str = "BACKEND") -> None:
        assert not self.ask(door, model, number), f"{model} succeeded over {door}"
        self.ledger.note(model, failed=reason)

    def refuse(self, door: str, model: str, *numbers: int, rows: int, code: str) -> None:
        assert not self.ask(door, model, *numbers, rows=rows), f"{model} took it over {door}"
        self.ledger.note(model, refused=code)

    def stream(self, door: str, model: str, *numbers: int) -> None:
        """A request with many responses: all of them data, but for an empty one at the end."""
        if door == "process":
            sender, array = Collecting(), np.array(numbers, np.int32)
            tensor = Tensor("INPUT0", DataType.INT32, array.shape, array=array)
            self.server.submit(InferenceRequest(model, {"INPUT0": tensor}, sender))
            came = sender.wait()
        else:
            came = [kind_of(one) for one in self.on.open_stream(model, *numbers)]
        data = [kind for kind in came if kind == "data"]
        empty = ["empty"] if len(data) < len(numbers) else []
        self.ledger.note(model, success=1, items=1, responses=[*data, *empty])

    def wait_ended(self, futures: Sequence[Any]) -> list[str]:
        return [ended(one) for one in futures]


def halve(INPUT0: Any) -> Mapping[str, Any]:  # noqa: N803
    """Of the function that is served; an odd number fails its own request, and those beside it are executed again."""
    if (INPUT0 % 2).any():
        raise InvalidArgumentError("an odd number")
    return {"OUTPUT0": INPUT0 // 2}


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[Traffic]:
    """A server in this process with every kind of model, and its frontends."""
    repository = write_counted(folder / "models")
    write_onnx_repository(repository, ONNX)
    tensors = {"inputs": {"INPUT0": ("INT32", [-1])}, "outputs": {"OUTPUT0": ("INT32", [-1])}}
    with atoll.Server(repository, cache_config=[CACHE], **options) as server:
        server.add_model(FUNCTION, halve, batching=8, **tensors)
        with (
            atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener,
            grpc.insecure_channel(f"127.0.0.1:{listener.grpc_port}") as channel,
        ):
            ports = {"http": listener.http_port, "grpc": listener.grpc_port, "metrics": listener.metrics_port}
            here = ServerProcess(cast(Any, _ThisProcess()), folder / "log", ports)
            yield Traffic(server, Counting(here, channel, repository))


class _ThisProcess:
    """What is asked of a server's process while a test waits."""

    def poll(self) -> None:
        """It has not ended."""
