"""However a request ends, it is counted once: waiters that give up, loops that close, models that change, the end."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.unit.server.python_repository import eventually

import atoll
from atoll.errors import AtollError
from atoll.models.model import Model
from atoll.observability.statistics.model import ModelStatistics

PATIENCE_S = 30.0
TENSORS: dict[str, Any] = {"inputs": {"x": ("FP32", [1])}, "outputs": {"y": ("FP32", [1])}}
ONE = {"x": np.ones(1, np.float32)}


class Gate:
    """A function that is served, and waits until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._opened = threading.Event()

    def __call__(self, x: Any) -> Any:
        self.entered.set()
        assert self._opened.wait(PATIENCE_S)
        return x

    def open(self) -> None:
        self._opened.set()


class Asked:
    """`infer` on a thread of its own; `ended` waits for its answer or error."""

    def __init__(self, server: atoll.Server, **options: Any) -> None:
        self._outcome: object = None
        self._thread = threading.Thread(target=self._ask, args=(server, options))
        self._thread.start()

    def _ask(self, server: atoll.Server, options: Any) -> None:
        try:
            self._outcome = server.infer("gated", ONE, **options)
        except AtollError as error:
            self._outcome = error

    def ended(self) -> object:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it was never answered"
        return self._outcome


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def server(gate: Gate) -> Iterator[atoll.Server]:
    made = atoll.Server()
    made.add_model("gated", gate, **TENSORS)
    with made:
        yield made


def with_waiting(server: atoll.Server, gate: Gate, count: int, **options: Any) -> list[Asked]:
    """One request that is executed and, behind it, so many that wait."""
    asked = [Asked(server)]
    assert gate.entered.wait(PATIENCE_S)
    asked += [Asked(server, **options) for _ in range(count)]
    eventually(lambda: server.model("gated").pending() == count, f"{count} waiting requests")
    return asked


def ends(model: Model) -> tuple[int, dict[str, int]]:
    """How many succeeded, and the failures by reason; each request has been counted once."""
    found: ModelStatistics = model.statistics()
    assert found.request_durations.count == found.success.count
    assert found.fail.count == sum(found.failures.values())
    assert found.pending_request_count == found.in_flight_request_count == 0
    return found.success.count, {reason: count for reason, count in found.failures.items() if count}


def test_who_gives_up_waiting_is_cancelled_in_the_queue(server: atoll.Server, gate: Gate) -> None:
    running = Asked(server)
    assert gate.entered.wait(PATIENCE_S)
    waiting = Asked(server, timeout=0.05)
    assert isinstance(waiting.ended(), atoll.UnavailableError)
    gate.open()
    assert isinstance(running.ended(), atoll.InferenceResponse)
    model = server.model("gated")
    eventually(lambda: model.in_flight() == 0, "at rest")
    assert ends(model) == (1, {"CANCELED": 1})


def test_a_loop_that_closes_before_the_answer_takes_no_count_with_it(server: atoll.Server, gate: Gate) -> None:
    async def leave() -> None:
        asked = [asyncio.ensure_future(server.async_infer("gated", ONE)) for _ in range(3)]
        await asyncio.to_thread(gate.entered.wait, PATIENCE_S)
        for one in asked:
            one.cancel()

    asyncio.run(leave())
    gate.open()
    model = server.model("gated")
    eventually(lambda: model.in_flight() == 0, "at rest")
    success, failures = ends(model)
    assert success + sum(failures.values()) == 3
    assert failures == {"CANCELED": 2}


def test_what_waits_when_the_model_changes_is_the_old_ones(server: atoll.Server, gate: Gate) -> None:
    old = server.model("gated")
    asked = with_waiting(server, gate, 2)
    server.add_model("gated", lambda x: x + 1, **TENSORS)
    new = server.model("gated")
    assert new is not old
    assert server.infer("gated", ONE)["y"] == [2]
    gate.open()
    for one in asked:
        answer = one.ended()
        assert isinstance(answer, atoll.InferenceResponse)
        assert answer["y"] == [1]
    eventually(lambda: old.in_flight() == 0, "at rest")
    assert ends(old) == (3, {})
    assert ends(new) == (1, {})


def test_what_waits_when_the_server_ends_is_rejected(gate: Gate) -> None:
    server = atoll.Server()
    server.add_model("gated", gate, **TENSORS)
    server.start()
    model = server.model("gated")
    asked = with_waiting(server, gate, 2)
    stopping = threading.Thread(target=server.stop, args=(0.05,))
    stopping.start()
    assert all(isinstance(one.ended(), atoll.UnavailableError) for one in asked[1:])
    gate.open()
    assert isinstance(asked[0].ended(), atoll.InferenceResponse)
    stopping.join(PATIENCE_S)
    eventually(lambda: model.in_flight() == 0, "at rest")
    assert ends(model) == (1, {"REJECTED": 2})
