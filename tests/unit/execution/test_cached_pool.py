"""A pool behind the response cache: hits are not executed, misses are kept, and nobody is lost on the way."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from time import monotonic_ns
from typing import Any

import numpy as np
import pytest
from tests.unit.execution.conftest import PATIENCE_S, SECOND_NS, Harness, Make, Sender

from atoll.caching.api import Entry
from atoll.caching.key import KeyMaker
from atoll.caching.local import LocalCache
from atoll.caching.store import ResponseStore
from atoll.caching.workers import Workers
from atoll.errors import CancelledError, InternalError, UnavailableError
from atoll.execution import cached_pool
from atoll.execution.cached_pool import CachedPool
from atoll.request import CREATED, InferenceRequest, InferenceResponse, run_at_once
from atoll.tensor import DataType, Tensor


class SlowCache:
    """A shared cache that waits until it may answer."""

    blocks = True
    shared = True

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()
        self.inserted = threading.Event()
        self.threads: set[int] = set()

    def lookup(self, key: str) -> Entry | None:
        self.threads.add(threading.get_ident())
        self.asked.set()
        assert self.open.wait(PATIENCE_S)
        return self.entries.get(key)

    def insert(self, key: str, entry: bytes, ttl_s: float) -> None:
        assert self.open.wait(PATIENCE_S)
        self.entries[key] = entry
        self.inserted.set()

    def close(self) -> None:
        pass


class Cached:
    """A harness whose pool is behind a cache."""

    def __init__(self, harness: Harness, cache: Any, workers: Workers | None = None):
        self.inner = harness
        self.store = ResponseStore("cache", cache)
        self.workers = workers or Workers(count=2)
        self.identity: bytes | None = b"now"
        keys = KeyMaker("m", "1", ["OUT"], sees_parameters=True)
        self.pool = CachedPool(harness.pool, self.store, self.workers, keys, harness.statistics, lambda: self.identity)
        self.pool.start()

    @property
    def executions(self) -> int:
        return len(self.inner.fakes[0].batches)

    def request(self, value: int = 1, **options: Any) -> tuple[InferenceRequest, Sender]:
        sender = Sender()
        array = np.full((1, 2), value, np.int32)
        inputs = {"IN": Tensor("IN", DataType.INT32, array.shape, array=array)}
        request = InferenceRequest("m", inputs, sender, **options)
        request.timeline.request_start = monotonic_ns()
        return request, sender

    def ask(self, value: int = 1, **options: Any) -> InferenceResponse:
        request, sender = self.request(value, **options)
        self.pool.submit(request)
        return sender.response()

    def stop(self) -> None:
        self.pool.stop(monotonic_ns() + PATIENCE_S * SECOND_NS)
        assert self.workers.close(monotonic_ns() + PATIENCE_S * SECOND_NS)


MakeCached = Callable[..., Cached]


@pytest.fixture
def cached(make: Make) -> Iterator[MakeCached]:
    made: list[Cached] = []

    def build(cache: Any = None, workers: Workers | None = None, **options: Any) -> Cached:
        made.append(Cached(make(**options), cache or LocalCache({"size": "1MiB"}), workers))
        return made[-1]

    yield build
    for one in made:
        for fake in one.inner.fakes:
            fake.release()
        one.stop()


def test_an_equal_request_is_answered_without_an_execution(cached: MakeCached) -> None:
    tested = cached()
    first = tested.ask(3)
    again = tested.ask(3, id="second")
    other = tested.ask(4)
    assert [one["OUT"].tolist() for one in (first, again, other)] == [[[6, 6]], [[6, 6]], [[8, 8]]]
    assert (again.id, again.model_name, again.model_version) == ("second", "m", "1")
    assert tested.executions == 2


def test_what_is_counted(cached: MakeCached) -> None:
    tested = cached()
    for value in (1, 1, 1, 2):
        tested.ask(value)
    numbers = tested.inner.statistics.snapshot()
    assert (numbers.success.count, numbers.queue.count) == (4, 4)
    assert (numbers.cache_hit.count, numbers.cache_miss.count) == (2, 2)
    assert (numbers.inference_count, numbers.execution_count) == (2, 2)
    assert numbers.compute_input.count == numbers.compute_infer.count == numbers.compute_output.count == 2
    assert numbers.cache_hit.ns > 0
    assert numbers.success.ns > numbers.cache_hit.ns


def test_a_hit_waits_for_nobody_and_is_answered_on_the_submitters_thread(cached: MakeCached) -> None:
    tested = cached()
    tested.ask(1)
    tested.inner.fakes[0].hold()
    later: list[Callable[[], None]] = []
    threads: list[int] = []
    request, sender = tested.request(1, defer=later.append)
    send = sender.send
    sender.send = lambda *what: (threads.append(threading.get_ident()), send(*what))[1]  # type: ignore[method-assign]
    tested.pool.submit(request)
    assert not sender.finals  # not while `submit` runs: on the loop's next turn
    (function,) = later
    function()
    assert sender.finals == 1
    assert threads == [threading.get_ident()]
    assert tested.pool.in_flight() == 0


def test_what_fails_is_not_kept(cached: MakeCached) -> None:
    def fail(inputs: Any) -> Any:
        raise InternalError("no")

    tested = cached(compute=fail)
    assert [type(tested.ask(1).error) for _ in range(2)] == [InternalError, InternalError]
    assert tested.executions == 2
    assert tested.inner.statistics.snapshot().cache_miss.count == 2


def test_what_was_cancelled_is_not_kept(cached: MakeCached) -> None:
    tested = cached()
    fake = tested.inner.fakes[0]
    fake.hold()
    request, sender = tested.request(1)
    tested.pool.submit(request)
    assert fake.entered.wait(PATIENCE_S)
    request.cancel()
    fake.release()
    sender.response()
    tested.ask(1)
    assert tested.executions == 2


class Answering:
    """A pool that answers as a test says, at once."""

    last_used_ns = 0

    def __init__(self, *answers: tuple[InferenceResponse | None, bool]):
        self.answers = answers
        self.submitted = 0

    def start(self) -> None:
        pass

    def submit(self, request: InferenceRequest) -> None:
        self.submitted += 1
        for answer in self.answers:
            request.sender.send(*answer)

    def pending(self) -> int:
        return 0

    in_flight = pending

    def instances(self) -> list[Any]:
        return []

    def change_instances(self, added: Any, removed: Any) -> bool:
        return False

    def refuse(self) -> None:
        pass

    def drain(self, deadline_ns: int) -> bool:
        return True

    stop = drain


def answer(value: int = 1, **options: Any) -> InferenceResponse:
    return InferenceResponse("m", "1", outputs=[Tensor.from_numpy("OUT", np.array([value], np.int32))], **options)


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        pytest.param([(answer(parameters={"a": 1}), True)], True, id="one"),
        pytest.param([(answer(), False), (answer(), True)], False, id="two"),
        pytest.param([(answer(), False), (None, True)], False, id="one, and its end apart"),
        pytest.param([(None, True)], False, id="none"),
        pytest.param([(answer(error=InternalError("no")), True)], False, id="an error"),
    ],
)
def test_only_one_final_answer_is_kept(cached: MakeCached, answers: Any, kept: bool) -> None:
    tested = cached()
    inner: Any = Answering(*answers)
    tested.pool._pool = inner
    senders = []
    for _ in range(2):
        request, sender = tested.request(1)
        tested.pool.submit(request)
        senders.append(sender)
    assert [sender.finals for sender in senders] == [1, 1]
    assert inner.submitted == (1 if kept else 2)
    if kept:
        assert senders[1].response().parameters == {"a": 1}


def test_an_answer_is_kept_apart_from_its_batch(cached: MakeCached) -> None:
    batches = [np.zeros((1000, 1000), np.int32)]
    gone = weakref.ref(batches[0])
    tested = cached(compute=lambda inputs: {"OUT": batches[0][: len(inputs["IN"]), :2]})
    tested.ask(1)
    batches.clear()
    gc.collect()
    assert gone() is None
    assert tested.ask(1)["OUT"].tolist() == [[0, 0]]


def test_a_request_that_was_kept_is_freed_without_the_collector(cached: MakeCached) -> None:
    tested = cached()
    gc.collect()
    gc.disable()
    try:
        request, sender = tested.request(1)
        gone = weakref.ref(request.inputs["IN"].array())
        tested.pool.submit(request)
        sender.response()
        tested.inner.fakes[0].batches.clear()
        del request
        tested.ask(2)  # the instance's thread has let go of the first one by then
        tested.inner.fakes[0].batches.clear()
        assert gone() is None
    finally:
        gc.enable()


def test_a_model_that_has_become_another_answers_itself(cached: MakeCached) -> None:
    tested = cached()
    tested.ask(1)
    tested.identity = b"another"
    tested.ask(1)
    tested.identity = None  # nobody can say now
    tested.ask(1)
    tested.ask(1)
    assert tested.executions == 4
    tested.identity = b"now"
    tested.ask(1)
    assert tested.executions == 4


def test_an_answer_of_a_model_that_has_changed_meanwhile_is_not_kept(cached: MakeCached) -> None:
    tested = cached()
    fake = tested.inner.fakes[0]
    fake.hold()
    request, sender = tested.request(1)
    tested.pool.submit(request)
    assert fake.entered.wait(PATIENCE_S)
    tested.identity = b"another"
    fake.release()
    sender.response()
    tested.identity = b"now"
    tested.ask(1)
    assert tested.executions == 2


def test_parameters_of_a_request_count(cached: MakeCached) -> None:
    tested = cached()
    for parameters in ({"a": 1}, {"a": 1}, {"a": 2}, None):
        tested.ask(1, parameters=parameters)
    assert tested.executions == 3


def test_a_refused_request_can_be_given_to_another_pool(cached: MakeCached) -> None:
    tested, other = cached(), cached()
    tested.inner.pool.refuse()
    request, sender = tested.request(1)
    with pytest.raises(UnavailableError):
        tested.pool.submit(request)
    assert request.state is CREATED
    assert request.sender is sender
    other.pool.submit(request)
    assert sender.response()["OUT"].tolist() == [[2, 2]]
    assert tested.store.reading().entries == 0


def test_after_the_end_not_even_hits_are_given(cached: MakeCached) -> None:
    tested = cached()
    tested.ask(1)
    tested.pool.refuse()
    with pytest.raises(UnavailableError, match="has stopped accepting"):
        tested.ask(1)


# ---- a cache that blocks


def test_a_slow_cache_holds_up_no_event_loop(cached: MakeCached) -> None:
    cache = SlowCache()
    tested = cached(cache)
    cache.open.clear()
    later: list[Callable[[], None]] = []
    request, sender = tested.request(1, defer=later.append)
    tested.pool.submit(request)  # returns, though the cache does not
    assert cache.asked.wait(PATIENCE_S)
    assert tested.pool.in_flight() == 1
    cache.open.set()
    assert sender.response()["OUT"].tolist() == [[2, 2]]
    assert later == []  # what follows a lookup is no longer on the submitter's thread
    assert cache.threads.isdisjoint({threading.get_ident()})
    assert cache.inserted.wait(PATIENCE_S)
    hit, sender = tested.request(1, defer=later.append)
    tested.pool.submit(hit)
    assert sender.response()["OUT"].tolist() == [[2, 2]]
    assert tested.executions == 1
    assert tested.pool.drain(monotonic_ns() + PATIENCE_S * SECOND_NS)
    numbers = tested.inner.statistics.snapshot()
    assert (numbers.cache_hit.count, numbers.cache_miss.count, numbers.success.count) == (1, 1, 2)


def test_who_waits_anyway_asks_a_slow_cache_itself(cached: MakeCached) -> None:
    cache = SlowCache()
    tested = cached(cache)
    tested.ask(1, defer=run_at_once)
    assert cache.threads == {threading.get_ident()}


def test_large_tensors_are_looked_through_elsewhere(cached: MakeCached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_pool, "LARGE_BYTES", 7)
    tested = cached(workers=Workers(count=1))
    threads: list[int] = []
    lookup = tested.store.lookup

    def noting(key: str) -> Any:
        threads.append(threading.get_ident())
        return lookup(key)

    monkeypatch.setattr(tested.store, "lookup", noting)
    assert tested.ask(1)["OUT"].tolist() == [[2, 2]]
    kept = threading.Event()
    tested.workers.give(kept.set)  # behind what keeps the answer: there is one thread
    assert kept.wait(PATIENCE_S)
    assert tested.ask(1)["OUT"].tolist() == [[2, 2]]
    assert threading.get_ident() not in threads
    assert len(threads) == 2
    assert tested.executions == 1


def test_a_request_that_is_cancelled_while_it_is_looked_up_is_not_executed(cached: MakeCached) -> None:
    cache = SlowCache()
    tested = cached(cache)
    cache.open.clear()
    request, sender = tested.request(1)
    tested.pool.submit(request)
    assert cache.asked.wait(PATIENCE_S)
    request.cancel()
    cache.open.set()
    assert isinstance(sender.response().error, CancelledError)
    assert sender.finals == 1
    assert tested.executions == 0
    assert tested.inner.statistics.snapshot().failures["CANCELED"] == 1


def test_what_is_looked_up_when_the_pool_refuses_is_still_answered(cached: MakeCached) -> None:
    cache = SlowCache()
    tested = cached(cache)
    cache.open.clear()
    senders = []
    for value in range(5):
        request, sender = tested.request(value)
        tested.pool.submit(request)
        senders.append(sender)
    tested.pool.refuse()
    with pytest.raises(UnavailableError):
        tested.ask(9)
    cache.open.set()
    assert [sender.response()["OUT"].tolist() for sender in senders] == [[[2 * one] * 2] for one in range(5)]
    assert tested.pool.drain(monotonic_ns() + PATIENCE_S * SECOND_NS)
    with pytest.raises(UnavailableError):  # the pool behind it, too
        tested.inner.submit()


def test_what_is_looked_up_when_the_pool_stops_is_answered_with_an_error(cached: MakeCached) -> None:
    cache = SlowCache()
    tested = cached(cache)
    cache.open.clear()
    senders = []
    for value in range(5):
        request, sender = tested.request(value)
        tested.pool.submit(request)
        senders.append(sender)
    assert not tested.pool.drain(monotonic_ns())
    tested.pool.stop(monotonic_ns())
    cache.open.set()
    assert {type(sender.response().error) for sender in senders} == {UnavailableError}
    assert [sender.finals for sender in senders] == [1] * 5


def test_a_drain_waits_for_lookups_and_executions(cached: MakeCached) -> None:
    cache = SlowCache()
    tested = cached(cache)
    cache.open.clear()
    senders = []
    for value in range(5):
        request, sender = tested.request(value)
        tested.pool.submit(request)
        senders.append(sender)
    threading.Timer(0.05, cache.open.set).start()
    assert tested.pool.drain(monotonic_ns() + PATIENCE_S * SECOND_NS)
    assert [sender.response()["OUT"].tolist() for sender in senders] == [[[2 * one] * 2] for one in range(5)]
    assert tested.pool.in_flight() == 0


def test_nobody_waits_for_a_cache_that_does_not_keep_up(cached: MakeCached) -> None:
    cache = SlowCache()
    tested = cached(cache, Workers(count=1, most_waiting=1))
    cache.open.clear()
    stuck = [tested.request(value) for value in range(2)]
    tested.pool.submit(stuck[0][0])
    assert cache.asked.wait(PATIENCE_S)
    tested.pool.submit(stuck[1][0])
    assert tested.ask(7)["OUT"].tolist() == [[14, 14]]
    cache.open.set()
    for _, sender in stuck:
        assert sender.response().error is None


def test_a_cache_that_fails_costs_nobody_an_answer(cached: MakeCached) -> None:
    class Failing(SlowCache):
        def lookup(self, key: str) -> Entry | None:
            raise OSError("gone")

    tested = cached(Failing())
    answers = [tested.ask(1)["OUT"].tolist() for _ in range(20)]
    assert answers == [[[2, 2]]] * 20
    assert tested.executions == 20


def test_a_refusal_after_a_lookup_is_an_answer(cached: MakeCached) -> None:
    tested = cached(SlowCache())
    tested.inner.pool.refuse()
    request, sender = tested.request(1)
    tested.pool.submit(request)
    assert isinstance(sender.response().error, UnavailableError)
    assert sender.finals == 1
    assert tested.inner.statistics.snapshot().failures["REJECTED"] == 1


def test_many_threads_get_their_own_answers(cached: MakeCached) -> None:
    for cache in (LocalCache({"size": "4096"}), SlowCache()):
        tested = cached(cache)
        wrong: list[Any] = []

        def ask(seed: int, tested: Cached = tested, wrong: list[Any] = wrong) -> None:
            for number in range(100):
                value = (seed * 7 + number) % 12
                found = tested.ask(value)
                if found.error is not None or found["OUT"].tolist() != [[2 * value] * 2]:
                    wrong.append(found)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert not wrong
        numbers = tested.inner.statistics.snapshot()
        assert numbers.success.count == 600
        assert numbers.cache_hit.count + numbers.cache_miss.count == 600
