"""Whatever cache, model and clients do: each request is answered once, and never with an answer to another."""

import threading
from time import monotonic_ns
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.execution.conftest import PATIENCE_S, SECOND_NS, Sender

from atoll.caching.api import Entry
from atoll.caching.key import KeyMaker
from atoll.caching.store import ResponseStore
from atoll.caching.workers import Workers
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.errors import AtollError, InternalError
from atoll.execution.batching.batch import plan_batches
from atoll.execution.cached_pool import CachedPool
from atoll.execution.clock import Clock
from atoll.execution.instance import ModelInstance
from atoll.execution.pool import InstancePool
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import InferenceRequest, run_at_once
from atoll.scheduling.choose import choose_scheduler
from atoll.tensor import DataType, Tensor
from atoll.testing.fake_backend import FakeInstance

LATER_NS = PATIENCE_S * SECOND_NS
CONFIG = ModelConfig(
    name="m",
    max_batch_size=4,
    input=(ModelInput(name="IN", data_type=DataType.INT32, dims=(1,)),),
    output=(ModelOutput(name="OUT", data_type=DataType.INT32, dims=(1,)),),
)


class Moody:
    """A cache that does what the test says to each call in turn: works, fails, or gives bytes that are none."""

    def __init__(self, moods: list[str], blocks: bool):
        self.blocks = self.shared = blocks
        self._moods = moods
        self._calls = 0
        self._entries: dict[str, Entry] = {}

    def _mood(self) -> str:
        self._calls += 1
        mood = self._moods[self._calls % len(self._moods)] if self._moods else "works"
        if mood == "fails":
            raise OSError("gone")
        return mood

    def lookup(self, key: str) -> Entry | None:
        return b"none of ours" if self._mood() == "lies" else self._entries.get(key)

    def insert(self, key: str, entry: bytes, ttl_s: float) -> None:
        self._mood()
        self._entries[key] = entry

    def close(self) -> None:
        pass


def compute(inputs: Any) -> Any:
    if (inputs["IN"] == 3).any():
        raise InternalError("three")
    return {"OUT": inputs["IN"] * 2}


what_clients_do = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from([None, run_at_once])), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(
    what_clients_do,
    st.lists(st.sampled_from(["works", "works", "fails", "lies"]), max_size=6),
    st.booleans(),
    st.integers(0, 30),
)
def test_each_request_has_one_answer_and_its_own(
    clients: list[Any], moods: list[str], blocks: bool, refuse_after: int
) -> None:
    statistics = StatisticsRecorder("m", "1")
    instance = ModelInstance("m_0", FakeInstance(compute), plan_batches(CONFIG), "1", statistics)
    clock, workers = Clock(), Workers(count=2, most_waiting=4)
    inner = InstancePool("m", choose_scheduler(CONFIG), [instance], clock, bounded=True)
    keys = KeyMaker("m", "1", ["OUT"], sees_parameters=False)
    store = ResponseStore("moody", Moody(moods, blocks))
    pool = CachedPool(inner, store, workers, keys, statistics, lambda: b"now")
    pool.start()
    taken: list[tuple[int, bool, Sender]] = []
    refuser: threading.Thread | None = None
    for number, (value, cancels, defer) in enumerate(clients):
        if number == refuse_after:
            refuser = threading.Thread(target=pool.refuse)
            refuser.start()
        array = np.array([[value]], np.int32)
        sender = Sender()
        request = InferenceRequest("m", {"IN": Tensor("IN", DataType.INT32, (1, 1), array=array)}, sender, defer=defer)
        request.timeline.request_start = monotonic_ns()
        try:
            pool.submit(request)
        except AtollError:
            assert refuser is not None
            assert not sender.finals
            continue
        taken.append((value, cancels, sender))
        if cancels:
            request.cancel()
    assert pool.drain(monotonic_ns() + LATER_NS)
    assert pool.in_flight() == 0
    if refuser is not None:
        refuser.join()
    assert pool.stop(monotonic_ns() + LATER_NS)
    assert workers.close(monotonic_ns() + LATER_NS)
    clock.close()
    succeeded = 0
    for value, cancels, sender in taken:
        assert sender.finals == 1
        response = sender.answers.get_nowait()
        if response.error is None:
            succeeded += 1
            assert value != 3
            assert response["OUT"].tolist() == [[2 * value]]
        else:
            assert cancels or value == 3
    counted = statistics.snapshot()
    assert (counted.success.count, counted.fail.count) == (succeeded, len(taken) - succeeded)
    assert counted.compute_infer.count + counted.cache_hit.count == succeeded
