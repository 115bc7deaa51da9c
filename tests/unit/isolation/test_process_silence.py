"""When a child that does not answer hangs: the rule."""

import pytest

from atoll.isolation.silence import Activity, Silence, Verdict


class Ticks:
    """A child of which the rule is asked in its own interval."""

    def __init__(self, timeout_s: float):
        self.rule = Silence(timeout_s, 0.0)
        self.now = 0.0

    def run(self, seconds: float, *, answered: bool = False, share: float = 0.0, state: str = "S") -> list[Verdict]:
        """What it says in so many seconds in which the child uses this share of a core."""
        said = []
        end = self.now + seconds
        while self.now + self.rule.interval_s <= end + 1e-9:
            self.now += self.rule.interval_s
            stat = None if answered else Activity(self.now * share, state)
            said.append(self.rule.tick(self.now, answered, stat))
        return said


def test_one_that_answers_is_fine() -> None:
    assert set(Ticks(30).run(300, answered=True)) == {Verdict.FINE}


def test_silence_without_work_for_the_whole_time_is_a_hang() -> None:
    ticks = Ticks(30)
    ticks.run(100, answered=True)
    assert set(ticks.run(29)) == {Verdict.FINE}
    assert ticks.run(1) == [Verdict.HUNG]


def test_an_answer_starts_the_time_anew() -> None:
    ticks = Ticks(30)
    ticks.run(29)
    ticks.run(1, answered=True)
    assert set(ticks.run(29)) == {Verdict.FINE}


@pytest.mark.parametrize(("share", "state"), [(1.0, "S"), (0.06, "S"), (0.0, "SR"), (0.0, "DS"), (0.0, "tt")])
def test_silence_with_work_is_told_of_once_and_never_a_hang(share: float, state: str) -> None:
    said = Ticks(30).run(1000, share=share, state=state)
    assert said.count(Verdict.BUSY) == 1
    assert Verdict.HUNG not in said


@pytest.mark.parametrize(("share", "state"), [(0.04, "S"), (0.0, "TT"), (0.0, "SS")])
def test_hardly_any_work_is_none(share: float, state: str) -> None:
    assert Verdict.HUNG in Ticks(30).run(60, share=share, state=state)


def test_one_that_has_stopped_working_is_not_said_to_work() -> None:
    ticks = Ticks(30)
    ticks.run(5, share=1.0)
    ticks.rule.tick(ticks.now, False, Activity(5.0, "S"))
    said = [ticks.rule.tick(ticks.now + i, False, Activity(5.0, "S")) for i in range(1, 31)]
    assert Verdict.BUSY not in said
    assert Verdict.HUNG in said


def test_work_that_stops_becomes_a_hang() -> None:
    ticks = Ticks(30)
    ticks.run(100, share=1.0)
    ticks.rule.tick(ticks.now, False, Activity(100.0, "SS"))
    said = [ticks.rule.tick(ticks.now + i, False, Activity(100.0, "SS")) for i in range(1, 31)]
    assert said.index(Verdict.HUNG) == 29


def test_the_time_in_which_the_server_was_stopped_does_not_count() -> None:
    ticks = Ticks(30)
    ticks.run(5)
    ticks.now += 500
    assert ticks.rule.tick(ticks.now, False, Activity(0.0, "S")) is Verdict.FINE
    assert set(ticks.run(29)) == {Verdict.FINE}


def test_without_proc_only_answers_count() -> None:
    rule = Silence(2.0, 0.0)
    said = [rule.tick(i * rule.interval_s, False, None) for i in range(1, 9)]
    assert said == [Verdict.FINE] * 7 + [Verdict.HUNG]
