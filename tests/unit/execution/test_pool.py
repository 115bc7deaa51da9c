"""The instance pool: who drives, what runs together, and that nobody is forgotten."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import Any

import numpy as np
import pytest

from atoll.errors import CancelledError, InternalError, InvalidArgumentError, UnavailableError
from atoll.execution.driving import PROOF
from atoll.request import run_at_once


class Loop:
    """An event loop's `call_soon`, turned by hand."""

    def __init__(self) -> None:
        self.due: deque[Callable[[], None]] = deque()

    def call_soon(self, function: Callable[[], None]) -> None:
        self.due.append(function)

    def turn(self) -> None:
        for _ in range(len(self.due)):
            self.due.popleft()()


def prove_short(harness: Any) -> None:
    for _ in range(PROOF):
        harness.submit()[1].response()
    while harness.pool.in_flight():
        pass


def test_a_request_is_answered_on_the_instances_thread(make: Any) -> None:
    harness = make()
    _, sender = harness.submit(value=3)
    assert sender.response()["OUT"].tolist() == [[6, 6]]
    assert sender.finals == 1
    assert harness.fakes[0].threads != [threading.get_ident()]


def test_what_queues_up_while_an_instance_is_busy_runs_together(make: Any) -> None:
    harness = make()
    fake = harness.fakes[0]
    fake.hold()
    _, first = harness.submit()
    assert fake.entered.wait(30)
    others = [harness.submit(rows=2, value=value)[1] for value in (1, 2, 3)]
    assert harness.pool.pending() == 3
    fake.release()
    assert first.response()["OUT"].shape == (1, 2)
    assert [sender.response()["OUT"].tolist() for sender in others] == [[[2 * v] * 2] * 2 for v in (1, 2, 3)]
    assert [batch["IN"].shape[0] for batch in fake.batches] == [1, 6]
    assert [(b.batch_size, b.compute_infer.count) for b in harness.statistics.snapshot().batch_stats] == [
        (1, 1),
        (6, 1),
    ]


def test_without_dynamic_batching_every_request_runs_alone(make: Any) -> None:
    harness = make(dynamic=False)
    fake = harness.fakes[0]
    fake.hold()
    senders = [harness.submit(rows=2)[1] for _ in range(4)]
    fake.release()
    for sender in senders:
        sender.response()
    assert [batch["IN"].shape[0] for batch in fake.batches] == [2, 2, 2, 2]


def test_instances_run_side_by_side(make: Any) -> None:
    harness = make(count=2, dynamic=False)
    for fake in harness.fakes:
        fake.hold()
    senders = [harness.submit()[1] for _ in range(2)]
    assert all(fake.entered.wait(30) for fake in harness.fakes)
    for fake in harness.fakes:
        fake.release()
    for sender in senders:
        sender.response()


def test_a_queue_delay_waits_for_company_and_a_full_batch_for_nobody(make: Any) -> None:
    harness = make(max_batch_size=4, delay_us=20_000_000)
    senders = [harness.submit()[1] for _ in range(4)]
    for sender in senders:  # they would wait 20 s if the fourth did not complete the batch
        sender.response()
    assert [batch["IN"].shape[0] for batch in harness.fakes[0].batches] == [4]


def test_the_delay_ends(make: Any) -> None:
    harness = make(max_batch_size=4, delay_us=20_000)
    sender = harness.submit()[1]
    assert sender.response()["OUT"].shape == (1, 2)


class TestSubmitterDrives:
    def test_only_after_short_executions_were_seen(self, make: Any) -> None:
        harness = make()
        loop = Loop()
        harness.submit(defer=loop.call_soon)[1].response()
        assert not loop.due

    def test_requests_of_one_turn_form_one_batch(self, make: Any) -> None:
        harness = make()
        prove_short(harness)
        loop = Loop()
        senders = [harness.submit(value=v, defer=loop.call_soon)[1] for v in range(3)]
        assert len(loop.due) == 1
        loop.turn()
        assert [sender.answers.get_nowait()["OUT"][0, 0] for sender in senders] == [0, 2, 4]
        assert harness.fakes[0].batches[-1]["IN"].shape[0] == 3
        assert harness.fakes[0].threads[-1] == threading.get_ident()
        assert harness.statistics.snapshot().driven_by_submitter == 1

    def test_more_than_one_batch_takes_more_than_one_turn(self, make: Any) -> None:
        harness = make(max_batch_size=2)
        prove_short(harness)
        loop = Loop()
        senders = [harness.submit(defer=loop.call_soon)[1] for _ in range(5)]
        turns = 0
        while loop.due:
            loop.turn()
            turns += 1
        assert turns == 3
        assert all(sender.finals == 1 for sender in senders)

    def test_a_thread_that_waits_drives_at_once(self, make: Any) -> None:
        harness = make()
        prove_short(harness)
        sender = harness.submit(defer=run_at_once)[1]
        assert sender.answers.get_nowait()["OUT"].tolist() == [[2, 2]]

    def test_an_unbounded_backend_never_runs_on_the_submitters_thread(self, make: Any) -> None:
        harness = make(bounded=False)
        prove_short(harness)
        harness.submit(defer=run_at_once)[1].response()
        assert threading.get_ident() not in harness.fakes[0].threads

    def test_nor_does_a_model_that_has_to_wait(self, make: Any) -> None:
        harness = make(delay_us=1)
        prove_short(harness)
        harness.submit(defer=run_at_once)[1].response()
        assert threading.get_ident() not in harness.fakes[0].threads

    @pytest.mark.parametrize("others", [None, run_at_once, Loop().call_soon], ids=["thread", "at once", "loop"])
    def test_a_loop_that_dies_before_its_turn_holds_nobody_up(
        self, make: Any, monkeypatch: pytest.MonkeyPatch, others: Any
    ) -> None:
        harness = make()
        prove_short(harness)
        monkeypatch.setattr("atoll.execution.pool.BROKEN_PROMISE_NS", 10_000_000)
        dead = Loop()
        lost = harness.submit(defer=dead.call_soon)[1]
        harness.submit(defer=others)[1].response()
        lost.response()
        dead.turn()  # and should it come after all, it finds nothing to do
        assert lost.finals == 1

    def test_a_loop_that_has_its_answers_is_not_asked_to_drive_for_others(self, make: Any) -> None:
        harness = make(dynamic=False)
        prove_short(harness)
        first, second = Loop(), Loop()
        harness.submit(defer=first.call_soon)
        other = harness.submit(defer=second.call_soon)[1]
        first.turn()
        assert not first.due
        other.response()  # from the instance's thread


class TestFailure:
    def test_a_failing_batch_fails_its_requests_and_the_next_one_runs(self, make: Any) -> None:
        answers = iter([ValueError("boom"), None])

        def compute(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            error = next(answers)
            if error is not None:
                raise error
            return {"OUT": inputs["IN"]}

        harness = make(compute=compute)
        failed = harness.submit()[1].response()
        assert isinstance(failed.error, InternalError)
        assert "ValueError: boom" in str(failed.error)
        assert harness.submit()[1].response().error is None
        snapshot = harness.statistics.snapshot()
        assert (snapshot.success.count, snapshot.fail.count, snapshot.failures["BACKEND"]) == (1, 1, 1)

    @pytest.mark.parametrize(
        ("output", "complaint"),
        [
            (np.zeros((1, 2), np.float32), "unexpected datatype TYPE_FP32"),
            (np.zeros((3, 2), np.int32), "first dimension must be the batch size"),
            (np.zeros((1, 5), np.int32), "unexpected shape for output 'OUT'"),
        ],
    )
    def test_outputs_that_disagree_with_the_configuration_are_not_sent(
        self, make: Any, output: Any, complaint: str
    ) -> None:
        harness = make(compute=lambda inputs: {"OUT": output})
        assert complaint in str(harness.submit()[1].response().error)

    def test_a_cancelled_request_is_not_executed(self, make: Any) -> None:
        harness = make()
        fake = harness.fakes[0]
        fake.hold()
        _, running = harness.submit()
        assert fake.entered.wait(30)
        request, cancelled = harness.submit(value=7)
        _, neighbour = harness.submit(value=8)
        request.cancel()
        fake.release()
        running.response()
        assert isinstance(cancelled.response().error, CancelledError)
        assert neighbour.response()["OUT"].tolist() == [[16, 16]]
        assert fake.batches[-1]["IN"].tolist() == [[8, 8]]
        assert harness.statistics.snapshot().failures["CANCELED"] == 1


class TestStop:
    def test_draining_answers_all_that_was_taken(self, make: Any) -> None:
        harness = make()
        harness.fakes[0].hold()
        senders = [harness.submit()[1] for _ in range(20)]
        harness.pool.refuse()
        with pytest.raises(UnavailableError, match="has stopped accepting new inference requests"):
            harness.submit()
        harness.fakes[0].release()
        assert harness.pool.drain(monotonic_ns() + 30 * 10**9)
        assert all(sender.answers.get_nowait().error is None for sender in senders)

    def test_nobody_waits_for_company_that_cannot_come(self, make: Any) -> None:
        harness = make(max_batch_size=4, delay_us=600_000_000)
        senders = [harness.submit()[1] for _ in range(2)]
        harness.pool.refuse()
        assert harness.pool.drain(monotonic_ns() + 30 * 10**9)
        assert all(sender.answers.get_nowait().error is None for sender in senders)

    def test_a_drain_ends_at_its_deadline(self, make: Any) -> None:
        harness = make()
        harness.fakes[0].hold()
        harness.submit()
        assert not harness.pool.drain(monotonic_ns() + 10**6)

    def test_what_is_still_queued_gets_an_error(self, make: Any) -> None:
        harness = make(dynamic=False)
        fake = harness.fakes[0]
        fake.hold()
        _, running = harness.submit()
        assert fake.entered.wait(30)
        _, queued = harness.submit()
        assert not harness.pool.stop(monotonic_ns())
        assert isinstance(queued.response().error, UnavailableError)
        assert not fake.closed
        fake.release()
        assert running.response().error is None

    def test_a_promise_that_is_not_yet_kept_is_taken_back(self, make: Any) -> None:
        harness = make()
        prove_short(harness)
        loop = Loop()
        sender = harness.submit(defer=loop.call_soon)[1]
        assert harness.stop()
        assert isinstance(sender.response().error, UnavailableError)
        loop.turn()
        assert harness.fakes[0].closed


def test_many_threads_many_requests_each_gets_its_own_answer(make: Any) -> None:
    harness = make(count=2)
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for number in range(100):
            value = seed * 1000 + number
            rows = number % 3 + 1
            answer = harness.submit(rows, value, run_at_once if number % 2 else None)[1].response()["OUT"]
            if answer.tolist() != [[value * 2] * 2] * rows:
                wrong.append((value, answer))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert harness.pool.in_flight() == 0
    assert harness.statistics.snapshot().success.count == 800


def test_what_one_request_did_wrong_does_not_hit_its_neighbours(make: Any) -> None:
    def compute(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if (inputs["IN"] == 13).any():
            raise InvalidArgumentError("13 is not allowed")
        return {"OUT": inputs["IN"]}

    harness = make(compute=compute)
    fake = harness.fakes[0]
    fake.hold()
    harness.submit()
    assert fake.entered.wait(30)
    senders = [harness.submit(value=value)[1] for value in (12, 13, 14)]
    fake.release()
    answers = [sender.response() for sender in senders]
    assert [str(answer.error) for answer in answers] == ["None", "13 is not allowed", "None"]
    assert [sender.finals for sender in senders] == [1, 1, 1]
