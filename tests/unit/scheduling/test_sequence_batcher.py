"""Sequences: what the real server (2.51) was seen to do with the same requests, and where this one does otherwise."""

import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest
from tests.unit.scheduling.queued import MS, Silent
from tests.unit.scheduling.sequences import Direct, Oldest, Sequences, sequence_of

from atoll.errors import InvalidArgumentError, OverloadedError
from atoll.request import InferenceRequest, InferenceResponse
from atoll.scheduling.scheduler import WaitUntil
from atoll.scheduling.sequences.sequence import ABSENT, FIRST, INNER, LAST, ONLY
from atoll.tensor import DataType

NO_ID = "INVALID_ARG: inference request to model 'm' must specify a non-zero or non-empty correlation ID"
NO_SLOT = "UNAVAILABLE: timeout of the corresponding sequence has been expired"


def no_start(correlation_id: object) -> str:
    return (
        f"INVALID_ARG: inference request for sequence {correlation_id} to model 'm' must specify the START flag on the "
        "first request of the sequence"
    )


# ---- what is refused at the door


@pytest.mark.parametrize("correlation_id", [0, ""])
@pytest.mark.parametrize("flags", ["", "S", "SE"])
def test_a_request_without_a_correlation_id(correlation_id: object, flags: str) -> None:
    assert Sequences().refused(correlation_id, flags) == NO_ID


@pytest.mark.parametrize("correlation_id", [7, "abc"])
@pytest.mark.parametrize("flags", ["", "E"])
def test_a_request_of_an_unknown_sequence(correlation_id: object, flags: str) -> None:
    assert Sequences().refused(correlation_id, flags) == no_start(correlation_id)


def test_a_request_of_an_ended_sequence() -> None:
    sequences = Sequences()
    sequences.ask(1, "SE")
    assert sequences.refused(1) == no_start(1)  # though the END has not run
    assert sequences.run() == ["1SE"]
    assert sequences.refused(1) == no_start(1)


def test_a_batch() -> None:
    expected = (
        "INVALID_ARG: inference request to model 'm' must specify batch-size 1 due to requirements of sequence batcher"
    )
    assert Sequences().refused(1, "S", size=2) == expected
    assert Sequences().refused(0, size=2) == expected


@pytest.mark.parametrize("correlation_id", [-3, 1 << 64, 1.5, True, b"bytes"])
def test_what_is_no_correlation_id(correlation_id: object) -> None:
    assert "neither a whole number from 1 to 2**64 - 1 nor a string" in Sequences().refused(correlation_id, "S")


def test_a_correlation_id_is_of_a_bounded_length() -> None:
    sequences = Sequences()
    assert (
        sequences.refused("x" * 129, "S") == "UNSUPPORTED: string correlation ID cannot be longer than 128 characters"
    )
    sequences.ask("x" * 128, "S")
    sequences.ask("é" * 64, "S")
    assert "cannot be longer than 128" in sequences.refused("é" * 65, "S")  # bytes are counted


def test_half_a_character_is_no_correlation_id() -> None:
    assert "half of a surrogate pair" in Sequences().refused("\ud800", "S")


@pytest.mark.parametrize("flag", ["false", "", 0, 1, None])
def test_flags_are_true_or_false(flag: Any) -> None:
    for key in ("sequence_start", "sequence_end"):
        parameters = {"sequence_id": 1, "sequence_start": True, key: flag}
        with pytest.raises(InvalidArgumentError, match=f"{key} is {flag!r}"):
            Sequences().batcher.enqueue(InferenceRequest("m", {}, Silent(), parameters=parameters), MS)


def test_a_text_for_an_input_of_numbers() -> None:
    expected = (
        "INVALID_ARG: the correlation ID 'abc' is a string, but control input 'CORRID' of model 'm' is TYPE_UINT64; "
        "send a number, or give the control data_type: TYPE_STRING"
    )
    assert Sequences(id_type=DataType.UINT64).refused("abc", "S") == expected
    Sequences(id_type=DataType.BYTES).ask("abc", "S")
    Sequences(id_type=DataType.BYTES).ask(5, "S")


def test_a_number_and_its_digits_are_two_sequences() -> None:
    sequences = Sequences()
    sequences.ask(5, "S")
    assert sequences.refused("5") == no_start("5")
    sequences.ask("5", "S", "text")
    assert sequences.run() == ["5S", "text"]


# ---- the direct strategy


def test_slots_and_fillers() -> None:
    sequences = Sequences()
    for one in (1, 2, 3):
        sequences.ask(one, "S")
        sequences.run()
    sequences.ask(3)
    assert sequences.begin() == ["-", "-", "3"]  # a live sequence without a request is a filler, too
    fillers = sequences.running[0][:2]
    assert all(one.filler and one.step is ABSENT and one.sequence is None for one in fillers)
    assert sequences.next() is None  # one batch at a time
    for one, name in ((1, "a"), (3, "b"), (3, "c")):
        sequences.ask(one, "", name)
    assert sequences.next() is None
    sequences.end()
    assert sequences.run_all() == [["a", "-", "b"], ["-", "-", "c"]]


def test_a_free_slot_is_given_again_the_lowest_first() -> None:
    sequences = Sequences()
    for one in (1, 2, 3):
        sequences.ask(one, "S")
    assert sequences.run() == ["1S", "2S", "3S"]
    sequences.ask(2, "E")
    assert sequences.run() == ["-", "2E"]
    sequences.ask(4, "S")
    sequences.ask(5, "S")
    assert sequences.run() == ["-", "4S", "-", "5S"]


def test_where_a_batch_is_one_item() -> None:
    sequences = Sequences(slots=0)
    sequences.ask(1, "S")
    sequences.ask(2, "S")
    assert sequences.run_all() == [["1S"]]
    sequences.ask(1, "E")
    assert sequences.run_all() == [["1E"], ["2S"]]


def test_sequences_are_spread_over_the_instances() -> None:
    sequences = Sequences(instances=2, slots=2)
    for one in (1, 2, 3, 4):
        sequences.ask(one, "S")
    assert (sequences.run(0), sequences.run(1)) == (["1S", "3S"], ["2S", "4S"])
    sequences.ask(2)
    assert not sequences.batcher.wants(0)
    assert (sequences.run(0), sequences.run(1)) == ([], ["2"])


def test_a_batch_is_of_one_shape_and_who_waits_longest_says_which() -> None:
    sequences = Sequences()
    for one in (1, 2, 3):
        sequences.ask(one, "S")
    sequences.run()
    sequences.ask(2, key="long")
    sequences.ask(1, key="short")
    sequences.ask(3, key="long")
    assert sequences.run_all() == [["-", "2", "3"], ["1"]]


def test_slots_that_are_to_be_utilized() -> None:
    sequences = Sequences(direct=Direct(minimum_slot_utilization=0.5, max_queue_delay_microseconds=100_000))
    sequences.ask(1, "S")
    assert sequences.next() == WaitUntil(1100 * MS)
    sequences.ms += 50
    sequences.ask(2, "S")
    assert sequences.run() == ["1S", "2S"]  # half of all slots, however many are taken
    sequences.ask(1)
    sequences.ms += 99
    assert sequences.begin() == []
    sequences.ms += 1
    assert sequences.run() == ["1"]


def test_a_delay_without_utilization_is_none() -> None:
    sequences = Sequences(direct=Direct(max_queue_delay_microseconds=100_000))
    assert not sequences.batcher.traits.waits
    sequences.ask(1, "S")
    assert sequences.run() == ["1S"]


# ---- flags


def test_flags_of_each_request() -> None:
    sequences = Sequences()
    steps = [sequences.ask(1, flags).step for flags in ("S", "", "E")]
    assert steps == [FIRST, INNER, LAST]
    assert sequences.ask(2, "SE").step is ONLY


def test_a_start_of_a_live_sequence_starts_anew_in_its_slot() -> None:
    sequences = Sequences()
    first = sequences.ask(1, "S", "first")
    sequences.ask(1, "", "inner")
    again = sequences.ask(1, "S", "again")
    after = sequences.ask(1, "", "after")
    assert sequence_of(first) is sequence_of(after)
    sequences.begin()
    sequence_of(first).states["S"] = np.zeros(1)
    sequences.end()
    assert sequences.begin() == ["inner"]
    assert sequence_of(again).states
    sequences.end()
    assert sequences.begin() == ["again"]
    assert not sequence_of(again).states
    sequences.end()
    assert sequences.run_all() == [["after"]]


def test_an_id_is_free_as_soon_as_its_end_has_come() -> None:
    sequences = Sequences()
    sequences.ask(1, "S", "a")
    sequences.ask(1, "E", "b")
    sequences.ask(1, "S", "c")
    assert sequences.run_all() == [["a", "c"], ["b"]]  # two sequences, side by side
    sequences.ask(1, "E", "d")
    assert sequences.run_all() == [["-", "d"]]
    assert not sequences.live


def test_one_request_of_a_sequence_at_a_time() -> None:
    sequences = Sequences(oldest=Oldest(max_candidate_sequences=4))
    sequences.ask(1, "S", "a")
    sequences.ask(1, "", "b")
    assert sequences.begin() == ["a"]
    assert not sequences.batcher.wants(0)
    sequences.end()
    assert sequences.run() == ["b"]


# ---- the oldest strategy


def test_oldest_takes_what_could_run_in_its_order() -> None:
    sequences = Sequences(oldest=Oldest(max_candidate_sequences=3))
    for one in (1, 2, 3):
        sequences.ask(one, "S")
    sequences.run()
    sequences.ask(1, "", "1a")
    assert sequences.begin() == ["1a"]
    for one, name in ((1, "1b"), (1, "1c"), (3, "3a"), (2, "2a"), (2, "2b")):
        sequences.ask(one, "", name)
    sequences.ask(4, "S")
    sequences.end()
    assert sequences.run_all() == [["3a", "2a", "1b"], ["2b", "1c"]]
    sequences.ask(3, "E")
    assert sequences.run_all() == [["3E"], ["4S"]]


def test_oldest_waits_for_preferred_sizes() -> None:
    sequences = Sequences(
        oldest=Oldest(max_candidate_sequences=4, preferred_batch_size=(2,), max_queue_delay_microseconds=500_000)
    )
    sequences.ask(1, "S")
    assert sequences.next() == WaitUntil(1500 * MS)
    sequences.ms += 100
    sequences.ask(2, "S")
    assert sequences.run() == ["1S", "2S"]


def test_oldest_without_a_limit_has_room_for_many() -> None:
    sequences = Sequences(oldest=Oldest())
    for one in range(1, 101):
        sequences.ask(one, "S")
    assert [len(batch) for batch in sequences.run_all()] == [4] * 25


def test_ordered_responses() -> None:
    sequences = Sequences(instances=1, oldest=Oldest(max_candidate_sequences=4, preserve_ordering=True))
    order: list[str] = []

    class Noting(Silent):
        def __init__(self, name: str):
            self.name = name

        def send(self, response: InferenceResponse | None, final: bool) -> None:
            order.append(self.name)

    requests = []
    for one in (1, 2):
        request = sequences.ask(one, "S")
        request.sender = Noting(request.id)
        requests.append(request)
        sequences.begin()
    for request in reversed(requests):
        request.sender.send(None, True)
    assert order == ["1S", "2S"]


# ---- the backlog


def test_the_backlog_is_first_come_first_served() -> None:
    sequences = Sequences(slots=1)
    sequences.ask(1, "S")
    sequences.ask(2, "S")
    sequences.ask(3, "SE")
    sequences.ask(2, "", "2a")  # joins its sequence, before the third
    sequences.ask(3, "S", "another 3")
    assert sequences.run_all() == [["1S"]]
    assert sequences.batcher.pending() == 4
    sequences.ask(1, "E")
    assert sequences.run_all() == [["1E"], ["2S"], ["2a"]]
    sequences.ask(2, "E")
    assert sequences.run_all() == [["2E"], ["3SE"], ["another 3"]]


def test_a_timeout_in_the_backlog_is_that_of_its_sequence() -> None:
    sequences = Sequences(slots=1)
    sequences.ask(1, "S")
    sequences.run()
    sequences.ask(2, "S", "a")
    sequences.ask(2, "", "b", timeout_ms=100)
    sequences.ask(2, "", "c", timeout_ms=900)
    sequences.ask(3, "S")
    assert sequences.wait(99) == []
    assert sequences.wait(1) == [("a", NO_SLOT), ("b", NO_SLOT), ("c", NO_SLOT)]
    assert sequences.refused(2) == no_start(2)
    sequences.ask(1, "E")
    assert sequences.run_all() == [["1E"], ["3S"]]


def test_what_has_a_slot_has_no_timeout() -> None:
    sequences = Sequences(slots=1)
    sequences.ask(1, "S", timeout_ms=10)
    sequences.ask(1, "", "a", timeout_ms=10)
    assert sequences.wait(500) == []
    assert sequences.run_all() == [["1S"], ["a"]]
    sequences.ask(2, "S", timeout_ms=10)
    sequences.ask(1, "E")
    sequences.run()
    assert sequences.wait(500) == []
    assert sequences.run() == ["2S"]


def test_absurd_times() -> None:
    sequences = Sequences(slots=1, idle_ms=1 << 60)
    sequences.ask(1, "S")
    sequences.ask(2, "S", timeout_ms=1 << 60)
    sequences.run()
    assert 0 < sequences.batcher.next_expiry_ns() < 1 << 63


def test_a_flood_of_sequences_is_refused() -> None:
    sequences = Sequences(slots=1, backlog="2")
    for one in (1, 2, 3):
        sequences.ask(one, "S")
    with pytest.raises(OverloadedError, match="sequence 4 of model 'm' cannot start: 2 sequences wait for a slot"):
        sequences.ask(4, "S")
    sequences.ask(3)  # those that are in may go on
    assert sequences.refused(4) == no_start(4)
    sequences.ask(1, "E")
    sequences.run_all()
    sequences.ask(4, "S")
    assert Sequences(slots=1, backlog="0").ask(1, "S")


# ---- idle time


def test_an_idle_sequence_ends_and_its_slot_goes_to_the_backlog() -> None:
    sequences = Sequences(slots=1)
    sequences.ask(1, "S")
    sequences.run()
    sequences.ms += 600
    sequences.ask(1)
    sequences.run()
    sequences.ask(2, "S")
    assert sequences.wait(999) == []
    assert sequences.run() == []
    assert sequences.wait(1) == []
    assert sequences.refused(1) == no_start(1)
    assert sequences.run() == ["2S"]


def test_a_sequence_that_waits_or_runs_is_not_idle() -> None:
    """In the real server it is: there the time counts from the last arrival."""
    sequences = Sequences()
    sequences.ask(1, "S")
    sequences.wait(5000)
    assert sequences.begin() == ["1S"]
    sequences.wait(5000)
    sequences.ask(1, "", "a")
    sequences.end()
    sequences.wait(5000)
    assert sequences.run() == ["a"]
    sequences.wait(999)
    sequences.ask(1, "E")
    sequences.run()
    assert not sequences.live


def test_a_sequence_whose_waiting_request_is_withdrawn_is_idle_from_then_on() -> None:
    sequences = Sequences(direct=Direct())
    sequences.ask(1, "S")
    sequences.run()
    sequences.ask(2, "S")
    sequences.begin()
    waits = sequences.ask(1)
    assert sequences.wait(5000) == []  # behind the batch of another
    assert sequences.batcher.withdraw(waits)
    assert sequences.wait(0) == []
    sequences.end()
    assert sequences.wait(999) == []
    sequences.ask(1, "", "goes on")
    assert sequences.run() == ["goes on"]


def test_the_alarm_of_idleness_is_seldom_moved() -> None:
    sequences = Sequences()
    sequences.ask(1, "S")
    sequences.run()
    due_ns = sequences.batcher.next_expiry_ns()
    for _ in range(20):
        sequences.ms += 20
        sequences.ask(1)
        sequences.run()
        assert sequences.batcher.next_expiry_ns() == due_ns
    assert sequences.wait(600) == []
    assert sequences.batcher.next_expiry_ns() == (1400 + 1000) * MS


# ---- what leaves without being executed


def test_a_withdrawn_start_takes_what_follows_it_with_it() -> None:
    sequences = Sequences(slots=1)
    sequences.ask(1, "S")
    sequences.run()
    start = sequences.ask(2, "S")
    sequences.ask(2, "", "a")
    sequences.ask(3, "S")
    assert sequences.batcher.withdraw(start)
    [(name, text)] = sequences.expired()
    assert name == "a"
    assert text.startswith("UNAVAILABLE: sequence 2 of model 'm' was not started, for the request that starts it")
    assert sequences.refused(2) == no_start(2)
    sequences.ask(1, "E")
    assert sequences.run_all() == [["1E"], ["3S"]]


def test_a_withdrawn_start_in_a_slot_frees_it() -> None:
    sequences = Sequences(slots=1)
    start = sequences.ask(1, "S")
    sequences.ask(2, "S")
    assert sequences.batcher.withdraw(start)
    assert not sequences.batcher.withdraw(start)
    assert sequences.run_all() == [["2S"]]


def test_a_withdrawn_restart_leaves_what_came_before_and_after() -> None:
    sequences = Sequences()
    sequences.ask(1, "S", "a")
    sequences.ask(1, "", "b")
    start = sequences.ask(1, "S", "c")
    sequences.ask(1, "", "d")
    sequences.ask(1, "S", "e")
    sequences.ask(1, "E", "f")
    assert sequences.batcher.withdraw(start)
    assert [name for name, _ in sequences.expired()] == ["d"]
    assert sequences.run_all() == [["a"], ["b"], ["e"], ["f"]]
    assert not sequences.live


def test_a_withdrawn_end_ends_all_the_same() -> None:
    sequences = Sequences()
    sequences.ask(1, "S")
    sequences.run()
    end = sequences.ask(1, "E")
    assert sequences.batcher.withdraw(end)
    assert not sequences.live
    assert sequences.refused(1) == no_start(1)


def test_a_withdrawn_request_in_between_is_just_left_out() -> None:
    sequences = Sequences()
    sequences.ask(1, "S")
    inner = sequences.ask(1)
    sequences.ask(1, "", "after")
    assert sequences.batcher.withdraw(inner)
    assert sequences.run_all() == [["1S"], ["after"]]


def test_what_was_handed_out_is_not_withdrawn() -> None:
    sequences = Sequences()
    request = sequences.ask(1, "S")
    sequences.begin()
    assert not sequences.batcher.withdraw(request)
    other = InferenceRequest("m", {}, Silent())
    assert not sequences.batcher.withdraw(other)


def test_when_no_request_comes_any_more_nobody_waits_for_an_idle_sequence() -> None:
    sequences = Sequences(slots=1)
    sequences.ask(1, "S")
    sequences.run()
    sequences.ask(2, "S")
    sequences.ask(3, "S")
    sequences.batcher.no_more()
    assert sequences.run_all() == [["2S"], ["3S"]]
    assert not sequences.live


# ---- instances that go


def test_sequences_end_with_the_process_that_remembers_them() -> None:
    sequences = Sequences(instances=2, slots=2)
    for one in (1, 2, 3, 4):
        sequences.ask(one, "S")
    sequences.run(0)
    sequences.run(1)
    sequences.ask(1, "", "lost")
    sequences.ask(1, "S", "anew")
    sequences.ask(3, "", "lost too")
    sequences.ask(2, "", "kept")
    sequences.batcher.seat_lost(0)
    assert [name for name, _ in sequences.expired()] == ["lost", "lost too"]
    assert sequences.refused(3) == no_start(3)
    assert (sequences.run(0), sequences.run(1)) == (["anew"], ["kept"])


def test_sequences_that_have_not_begun_move_when_an_instance_is_taken_away() -> None:
    sequences = Sequences(instances=2, slots=1)
    for one in (1, 2, 3):
        sequences.ask(one, "S")
    assert sequences.begin(1) == ["2S"]
    sequences.ask(2, "", "lost")
    sequences.ask(2, "S", "lost too")
    sequences.batcher.seat_removed(0)
    sequences.batcher.seat_removed(1)
    assert [name for name, _ in sequences.expired()] == ["lost", "lost too"]
    sequences.end(1)
    assert sequences.live == 2
    sequences.batcher.seat_added(2)
    assert sequences.run(2) == ["1S"]


# ---- iterative sequences


def test_an_iterative_request_is_a_sequence_of_its_own() -> None:
    sequences = Sequences(iterative=True, slots=2)
    first, second = sequences.ask(0, "", "a"), sequences.ask(0, "", "b")
    third = sequences.ask(0, "", "c")
    assert first.parameters == {"sequence_id": 1, "sequence_start": True}
    assert second.parameters == {"sequence_id": 2, "sequence_start": True}
    assert sequences.begin() == ["a", "b"]
    assert first.step is FIRST
    sequences.batcher.requeue(first, sequences.now_ns)
    sequences.end()
    assert (first.step, first.parameters) == (INNER, {"sequence_id": 1, "sequence_start": False})
    assert sequences.begin() == ["a", "c"]  # beside it one that has just begun, in the slot that is free
    assert third.step is FIRST
    sequences.end()
    assert not sequences.live
    assert not sequences.batcher.pending()


def test_an_iterative_request_may_bring_its_id() -> None:
    sequences = Sequences(iterative=True)
    assert sequences.refused(9) == no_start(9)
    sequences.ask(9, "S")
    assert sequences.run() == ["9S"]
    assert sequences.refused(9) == no_start(9)  # it was over with its request
    sequences.ask(1, "S", "one")
    assert sequences.ask(0, "", "own").parameters == {"sequence_id": 2, "sequence_start": True}
    assert sequences.run() == ["one", "own"]


def test_a_request_that_is_withdrawn_between_two_executions_ends_its_sequence() -> None:
    sequences = Sequences(iterative=True)
    request = sequences.ask(0, "", "a")
    sequences.begin()
    sequences.batcher.requeue(request, sequences.now_ns)
    sequences.end()
    assert sequences.batcher.withdraw(request)
    assert not sequences.live


# ---- what is kept


def test_nothing_is_kept_of_a_sequence_that_is_over() -> None:
    sequences = Sequences()
    request = sequences.ask(1, "S")
    sequences.begin()
    state = np.zeros(1)
    kept = weakref.ref(state)
    sequence_of(request).states["S"] = state
    del state
    sequences.end()
    sequences.wait(1000)
    gc.disable()
    try:
        del request
        assert kept() is None
    finally:
        gc.enable()


def test_ten_thousand_live_sequences() -> None:
    sequences = Sequences(oldest=Oldest(max_candidate_sequences=10_000), slots=64)
    for one in range(1, 10_001):
        sequences.ask(one, "S")
    assert len(sequences.run_all()) == 157
    assert sequences.live == 10_000
    idle = next(iter(sequences.batcher._idle))
    assert sys.getsizeof(idle) + sys.getsizeof(idle.states) < 256
    for one in range(10_000, 0, -1):
        sequences.ask(one, "E")
    sequences.run_all()
    assert not sequences.live
    assert not sequences.batcher._idle
