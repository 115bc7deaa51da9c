"""An instance whose process dies: when it is started again, what is said of it, and in which order."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.isolation.clockwork import Clockwork, FakeLink, Told

from atoll.errors import InternalError
from atoll.isolation.proxy import IsolatedInstance


class Isolated:
    """An instance, and the processes that it has had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any):
        self.clockwork = Clockwork()
        self.told = Told()
        self.links: list[FakeLink] = []
        self.failure: Exception | None = None
        self.on_start: Callable[[FakeLink], None] = lambda link: None
        monkeypatch.setattr("atoll.isolation.proxy.monotonic_ns", self.clockwork.now_ns)
        monkeypatch.setattr("atoll.isolation.proxy.threading.Thread", self.clockwork.thread)
        start: Any = self._start
        supervisor: Any = self.clockwork
        self.instance = IsolatedInstance("m_0_0", start, supervisor, **options)
        self.instance.open(self.told)

    def _start(self, answers: Any, on_end: Callable[[FakeLink, str], None]) -> FakeLink:
        if self.failure is not None:
            raise self.failure
        link = FakeLink(self.clockwork, {"concurrency": 2, "depth": 1})
        self.links.append(link)
        self.on_end = on_end
        self.on_start(link)
        return link

    def die(self, why: str = "died") -> None:
        self.links[-1].end_reason = why
        self.on_end(self.links[-1], why)

    def says(self) -> list[str]:
        """What was said of its process since it was last asked."""
        said, self.told.said = self.told.said, []
        return [one[0] for one in said]


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> Isolated:
    return Isolated(monkeypatch)


def test_what_the_process_says_of_itself(isolated: Isolated) -> None:
    assert (isolated.instance.concurrency, isolated.instance.depth) == (2, 1)


def test_it_is_started_again_after_a_moment(isolated: Isolated) -> None:
    isolated.die()
    assert isolated.says() == ["down"]
    assert isolated.clockwork.waiting() == [0.1]
    isolated.clockwork.pass_time(0.1)
    assert isolated.says() == ["up"]
    assert len(isolated.links) == 2


def test_it_is_started_later_and_later_and_soon_again_after_a_good_life(isolated: Isolated) -> None:
    delays = []
    for _ in range(12):
        isolated.die()
        [delay] = isolated.clockwork.waiting()
        delays.append(delay)
        isolated.clockwork.pass_time(delay)
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 30
    isolated.clockwork.pass_time(61)
    isolated.die()
    assert isolated.clockwork.waiting() == [0.1]


@pytest.mark.parametrize("failure", [InternalError("no weights"), OSError("too many open files")])
def test_a_restart_that_fails_is_told_and_tried_again(isolated: Isolated, failure: Exception) -> None:
    isolated.failure = failure
    isolated.die()
    assert isolated.says() == ["down"]
    isolated.clockwork.pass_time(0.1)
    assert isolated.says() == ["down"]
    assert isolated.clockwork.waiting() == [0.2]
    isolated.failure = None
    isolated.clockwork.pass_time(0.2)
    assert isolated.says() == ["up"]


def test_one_that_dies_while_it_starts_is_not_said_to_be_up(isolated: Isolated) -> None:
    """Its end may be told before its start has returned, or just after."""

    def die_at_once(link: FakeLink) -> None:
        isolated.on_start = lambda link: None
        isolated.die("died at once")

    isolated.on_start = die_at_once
    isolated.die()
    isolated.clockwork.pass_time(0.1)
    assert isolated.says() == ["down", "down"]
    isolated.clockwork.pass_time(0.2)
    assert isolated.says() == ["up"]


def test_the_end_is_never_overtaken_by_the_start(isolated: Isolated) -> None:
    isolated.die()
    later = isolated.clockwork.later

    def die_before_up_is_said(delay_s: float, function: Callable[[], object]) -> Any:
        timer = later(delay_s, function)
        if not delay_s:
            isolated.clockwork.later = later  # type: ignore[method-assign]
            isolated.die("died again")
        return timer

    isolated.clockwork.later = die_before_up_is_said  # type: ignore[method-assign]
    isolated.clockwork.pass_time(0.1)
    assert isolated.says() == ["down", "down"]
    isolated.clockwork.pass_time(0.2)
    assert isolated.says() == ["up"]


def test_the_end_of_another_process_is_nothing(isolated: Isolated) -> None:
    first = isolated.links[0]
    isolated.die()
    isolated.clockwork.pass_time(0.1)
    isolated.says()
    isolated.on_end(first, "again")
    assert isolated.says() == []


def test_after_its_end_nothing_is_started(isolated: Isolated) -> None:
    isolated.die()
    isolated.says()
    assert isolated.instance.close(0)
    isolated.clockwork.pass_time(100)
    assert isolated.says() == []
    assert len(isolated.links) == 1


def test_a_process_that_is_ready_when_the_instance_is_closed_is_ended(isolated: Isolated) -> None:
    isolated.on_start = lambda link: setattr(isolated.instance, "_closed", True)
    isolated.die()
    isolated.clockwork.pass_time(0.1)
    assert isolated.links[-1].stopped == 1
    assert isolated.says() == ["down"]


def test_one_that_died_before_the_instance_was_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeLink, "end_reason", "died early", raising=False)
    start = FakeLink.__init__

    def started(self: FakeLink, *arguments: Any) -> None:
        start(self, *arguments)
        self.end_reason = "died early" if not made else ""
        made.append(self)

    made: list[FakeLink] = []
    monkeypatch.setattr(FakeLink, "__init__", started)
    isolated = Isolated(monkeypatch)
    assert isolated.says() == ["down"]
    isolated.clockwork.pass_time(0.1)
    assert isolated.says() == ["up"]


@pytest.mark.parametrize("failure", [InternalError("it does not fit"), OSError("broken"), None])
def test_what_cannot_be_begun_is_answered(
    isolated: Isolated, failure: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    request: Any = SimpleNamespace(id="7")
    if failure is None:
        isolated.die()
        isolated.says()
    isolated.links[-1].failure = failure
    isolated.instance.begin(1, [request])
    assert isolated.told.said == [("released", 1), ("error", request)]
    known = [(one["request_id"], one["model"], one["version"]) for one in map(vars, caplog.records) if "model" in one]
    assert known == ([("7", "m", "1")] if isinstance(failure, OSError) else [])


def test_the_clock_of_a_batch_runs_before_it_can_be_over(monkeypatch: pytest.MonkeyPatch) -> None:
    isolated = Isolated(monkeypatch, execution_timeout_s=5.0)
    link = isolated.links[-1]
    released: Any = isolated.instance._get_answers().released
    link.begin = lambda batch, requests: released(batch, 5)  # type: ignore[method-assign]
    isolated.instance.begin(1, [])
    assert isolated.clockwork.waiting() == []
