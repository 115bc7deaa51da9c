"""The end of executions that take too long: counted from their true beginning, and never of one that is over."""

from typing import Any

import pytest
from tests.unit.isolation.clockwork import Clockwork, FakeLink, Told

from atoll.isolation.execution_limit import ExecutionLimit

LIMIT_S = 10
STACK = """
Thread 1:
  File "/x/atoll/isolation/service.py", line 9, in serve
  File "/models/m/1/model.py", line 12, in execute
  File "/site/numpy/core.py", line 7, in dot
  File "/x/atoll/backends/python/runner.py", line 3, in wait
"""


class Limited:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, one_by_one: bool = True):
        self.clockwork = Clockwork()
        self.told = Told()
        self.link: FakeLink | None = FakeLink(self.clockwork)
        monkeypatch.setattr("atoll.isolation.execution_limit.monotonic_ns", self.clockwork.now_ns)
        monkeypatch.setattr("atoll.isolation.execution_limit.threading.Thread", self.clockwork.thread)
        supervisor: Any = self.clockwork
        link: Any = lambda: self.link  # noqa: E731
        self.limit = ExecutionLimit(self.told, supervisor, LIMIT_S, link, one_by_one=one_by_one)

    @property
    def killed(self) -> list[str]:
        assert self.link is not None
        return self.link.killed


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Limited:
    return Limited(monkeypatch)


def test_one_that_takes_too_long_is_ended(limited: Limited) -> None:
    limited.limit.begin(1)
    limited.clockwork.pass_time(LIMIT_S - 1)
    assert not limited.killed
    limited.clockwork.pass_time(2)
    assert limited.killed == ["was killed by the server because an execution took longer than 10 s"]


def test_the_models_own_line_is_named(limited: Limited) -> None:
    limited.clockwork.stack = STACK
    limited.limit.begin(1)
    limited.clockwork.pass_time(LIMIT_S + 1)
    [why] = limited.killed
    assert "model.py:12" in why


def test_one_that_is_over_by_the_time_that_its_stack_is_known_is_not_ended(limited: Limited) -> None:
    def stack_of(child: object) -> str:
        limited.limit.released(1, 5)
        return STACK

    limited.clockwork.stack_of = stack_of  # type: ignore[method-assign]
    limited.limit.begin(1)
    limited.clockwork.pass_time(LIMIT_S + 1)
    assert not limited.killed


def test_one_that_is_over_is_not_ended(limited: Limited) -> None:
    for number in range(200):
        limited.limit.begin(number)
        limited.limit.released(number, 5)
    limited.clockwork.pass_time(100 * LIMIT_S)
    assert not limited.killed
    assert limited.told.said == [("released", number) for number in range(200)]
    assert not limited.limit._timers
    assert not limited.limit._running


def test_the_time_in_which_it_waited_for_the_one_before_does_not_count(limited: Limited) -> None:
    for number in (1, 2, 3):
        limited.limit.begin(number)
    for number in (1, 2):
        limited.clockwork.pass_time(LIMIT_S - 1)
        limited.limit.released(number, 5)
    limited.clockwork.pass_time(LIMIT_S - 1)
    assert not limited.killed
    limited.clockwork.pass_time(2)
    assert limited.killed  # the third is at it for too long


def test_where_executions_overlap_each_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = Limited(monkeypatch, one_by_one=False)
    limited.limit.begin(1)
    for number in range(2, 20):
        limited.limit.begin(number)
        limited.clockwork.pass_time(1)
        limited.limit.released(number, 5)
    assert limited.killed


def test_the_end_of_a_process_ends_all_clocks(limited: Limited) -> None:
    limited.limit.begin(1)
    limited.limit.begin(2)
    limited.limit.down("it died")
    limited.limit.up()
    limited.clockwork.pass_time(5 * LIMIT_S)
    assert not limited.killed
    assert limited.told.said == [("down", "it died"), ("up",)]


def test_without_a_process_nothing_is_ended(limited: Limited) -> None:
    limited.limit.begin(1)
    limited.link = None
    limited.clockwork.pass_time(5 * LIMIT_S)


def test_what_is_said_is_passed_on(limited: Limited) -> None:
    request: Any = object()
    limited.limit.respond(request, [])
    limited.limit.finish(request)
    limited.limit.reschedule(request)
    limited.limit.settle()
    assert limited.told.said == [("respond", request), ("finish", request), ("reschedule", request), ("settle",)]
