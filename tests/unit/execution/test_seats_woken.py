"""Where requests are not for any instance: the right one is woken, whatever is driven at the time."""

from time import monotonic_ns
from typing import Any

import numpy as np
from tests.unit.execution.conftest import PATIENCE_S, Sender
from tests.unit.execution.schedulers import Seated

from atoll.execution.driving import PROOF
from atoll.request import QUEUED, InferenceRequest, run_at_once
from atoll.tensor import DataType, Tensor


def test_who_drives_one_instance_leaves_no_request_of_another(make: Any) -> None:
    """A request for the last instance is there, but its thread has not run yet, when one for the first comes."""
    scheduler = Seated()
    harness = make(count=2, scheduler=scheduler)
    for seat in range(2):
        for _ in range(PROOF):
            harness.submit(seat=seat, defer=run_at_once)[1].response()
    for seat, other in ((0, 1), (1, 0)):
        there = Sender()
        array = np.full((1, 2), 21, np.int32)
        request = InferenceRequest("m", {"IN": Tensor("IN", DataType.INT32, (1, 2), array=array)}, there)
        request.parameters = {"seat": other}
        pool = harness.pool
        with pool._lock:
            while len(pool._idle) < 2:
                pool._seats[0].wake.wait(0.01)
            request.timeline.queue_start = monotonic_ns()
            scheduler.enqueue(request, monotonic_ns())
            request.move(QUEUED)
            pool._in_flight.count += 1
        _, mine = harness.submit(value=4, seat=seat, defer=run_at_once)
        assert mine.answers.get(timeout=PATIENCE_S)["OUT"].tolist() == [[8, 8]]
        assert there.answers.get(timeout=PATIENCE_S)["OUT"].tolist() == [[42, 42]]


class Handing(Seated):
    """What has run on the first instance lets something run on the second."""

    def finished(self, requests: Any, seat: int) -> None:
        super().finished(requests, seat)
        for request in requests:
            held = request.parameters.pop("then", None)
            if held is not None:
                self.enqueue(held, monotonic_ns())


def test_what_a_batch_makes_possible_on_another_instance_runs_there(make: Any) -> None:
    for defer in (None, run_at_once):
        harness = make(count=2, scheduler=Handing())
        array = np.full((1, 2), 3, np.int32)
        held = InferenceRequest("m", {"IN": Tensor("IN", DataType.INT32, (1, 2), array=array)}, Sender())
        held.parameters = {"seat": 1}
        held.move(QUEUED)
        with harness.pool._lock:
            harness.pool._in_flight.count += 1
        harness.submit(value=1, seat=0, defer=defer, then=held)[1].response()
        assert held.sender.response()["OUT"].tolist() == [[6, 6]]  # type: ignore[attr-defined]
