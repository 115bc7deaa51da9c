"""Takes a server through a scenario (scenarios.py), and says what each request was answered and what ran together."""

import json
import re
import threading
import time
from math import prod
from pathlib import Path
from typing import Any

from tests.conformance.model_folders import identity_config, write_model
from tests.conformance.process import HOST, ServerProcess, wait_until
from tests.conformance.queues.scenarios import SCENARIOS, Ask, Scenario, Wait
from tests.conformance.wire import Exchange

_BUSY = "busy"
_HELD_MS = 200  # in which an answer that is not held back comes
_MODEL = """
import json, os, time
import triton_python_backend_utils as pb_utils

FOLDER = {folder!r}

class TritonPythonModel:
    def execute(self, requests):
        names = [request.request_id() for request in requests]
        with open(os.path.join(FOLDER, "batches"), "a") as file:
            file.write(json.dumps(names) + chr(10))
        while {busy!r} in names and not os.path.exists(os.path.join(FOLDER, "gate")):
            time.sleep(0.002)
        tensors = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", one)]) for one in tensors]
"""


def write_models(repository: Path) -> Path:
    """A model for each scenario."""
    for name, scenario in SCENARIOS.items():
        more = f"{scenario.batching}\ninstance_group [{{ count: {scenario.instances} kind: KIND_CPU }}]\n"
        config = identity_config("INT32", size=scenario.max_batch_size, more=more)
        write_model(repository, name, config, _MODEL.format(folder=str(repository / name), busy=_BUSY))
    return repository


class Examined:
    """A scenario under way: the threads of its requests and their answers."""

    def __init__(self, server: ServerProcess, folder: Path, scenario: Scenario):
        self._server = server
        self._folder = folder
        self._scenario = scenario
        self._threads: list[threading.Thread] = []
        self.answers: dict[str, tuple[int, str]] = {}

    def batches(self) -> list[list[str]]:
        file = self._folder / "batches"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def ask(self, one: Ask) -> None:
        shape = [one.rows, one.width] if self._scenario.max_batch_size else [one.width]
        tensor = {"name": "IN", "datatype": "INT32", "shape": shape, "data": [0] * prod(shape)}
        body = {"id": one.name, "parameters": dict(one.parameters), "inputs": [tensor]}
        thread = threading.Thread(target=self._answer, args=(one.name, json.dumps(body).encode()))
        thread.start()
        self._threads.append(thread)
        wait_until(lambda: self._arrived() >= len(self._threads), f"{one.name} in the queue", self._server)

    def _answer(self, name: str, body: bytes) -> None:
        answer = self._server.exchange("POST", f"/v2/models/{self._folder.name}/infer", body=body)
        text = "" if answer.status == 200 else json.loads(answer.body)["error"]
        self.answers[name] = (answer.status, text)

    def _arrived(self) -> int:
        """How many requests wait, run or are answered."""
        begun = {name for batch in self.batches() for name in batch}
        return len(begun | set(self.answers)) + self._pending()

    def _pending(self) -> int:
        page = Exchange.ask(HOST, self._server.ports["metrics"], "GET", "/metrics").body.decode()
        found = re.search(rf'nv_inference_pending_request_count{{model="{self._folder.name}"[^}}]*}} (\d+)', page)
        return int(found[1]) if found else 0

    def settle(self) -> None:
        """Until nothing has begun or been answered for a while: on a busy machine one takes longer than the next."""
        seen: object = None
        since = time.monotonic()
        while time.monotonic() - since < _HELD_MS / 1000:
            now = (sorted(self.answers), self.batches())
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.01)

    def open_gate(self) -> None:
        (self._folder / "gate").touch()

    def end(self) -> None:
        self.open_gate()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request was never answered"


def examine(server: ServerProcess, repository: Path, name: str) -> dict[str, Any]:
    """What becomes of the scenario's requests: each one's status and text, and the batches in their order."""
    scenario = SCENARIOS[name]
    examined = Examined(server, repository / name, scenario)
    found: dict[str, Any] = {}
    try:
        examined.ask(Ask(_BUSY))
        wait_until(lambda: examined.batches() == [[_BUSY]], "the first request running", server)
        for step in scenario.steps:
            if isinstance(step, Wait):
                time.sleep(step.ms / 1000)
            else:
                examined.ask(step)
        if scenario.ordered:
            examined.settle()
            found["answered_meanwhile"] = sorted(examined.answers)
    finally:
        examined.end()
    found["answers"] = {key: list(answer) for key, answer in sorted(examined.answers.items())}
    found["batches"] = examined.batches()[1:]
    return found
