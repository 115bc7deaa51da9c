"""Executions that end with more than an error: an interrupted submitter, a model's code that would end its thread."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from atoll.errors import InternalError
from atoll.execution.driving import PROOF
from atoll.request import run_at_once
from atoll.trampoline import soon


class Told:
    """Computes until it is told to raise, which it then does once."""

    def __init__(self) -> None:
        self.next: BaseException | None = None

    def __call__(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        error, self.next = self.next, None
        if error is not None:
            raise error
        return {"OUT": inputs["IN"]}


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), KeyboardInterrupt()], ids=repr)
def test_code_that_would_end_its_thread_fails_its_requests_alone(make: Any, error: BaseException) -> None:
    told = Told()
    harness = make(compute=told, bounded=False)
    told.next = error
    failed = harness.submit()[1].response()
    assert isinstance(failed.error, InternalError)
    assert type(error).__name__ in str(failed.error)
    assert harness.submit()[1].response().error is None
    assert harness.stop()


def test_an_interrupted_submitter_leaves_everything_in_order(make: Any) -> None:
    told = Told()
    harness = make(compute=told)
    for _ in range(PROOF):
        harness.submit(defer=run_at_once)[1].response()
    while harness.pool.in_flight():
        pass
    told.next = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        harness.submit(defer=run_at_once)
    assert harness.pool.in_flight() == 0
    assert harness.statistics.snapshot().fail.count == 1
    done: list[int] = []
    soon(lambda: done.append(1))  # the thread's trampoline is free
    assert done == [1]
    harness.submit()[1].response()  # the instance is, too
    assert harness.stop()
