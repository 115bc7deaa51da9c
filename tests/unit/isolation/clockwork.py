"""A supervisor without processes, whose time passes when the test says so, and who is told of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Timer:
    """One of the supervisor's."""

    def __init__(self, when: float, function: Callable[[], object]):
        self.when = when
        self.function = function
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clockwork:
    """A Supervisor, as far as it is used without processes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.stack = ""

    def thread(self, target: Callable[..., None], args: tuple[Any, ...] = (), **named: Any) -> _Thread:
        """One that runs when time passes."""
        return _Thread(self, lambda: target(*args))

    def now_ns(self) -> int:
        return int(self.now * 1e9)

    def later(self, delay_s: float, function: Callable[[], object]) -> Timer:
        self.timers.append(Timer(self.now + delay_s, function))
        return self.timers[-1]

    def stack_of(self, child: object) -> str:
        return self.stack

    def waiting(self) -> list[float]:
        """In how many seconds something happens."""
        return [round(one.when - self.now, 3) for one in self.timers if not one.cancelled]

    def pass_time(self, seconds: float) -> None:
        """Let it pass, and what is due happen in its order."""
        end = self.now + seconds
        while due := [one for one in self.timers if one.when <= end and not one.cancelled]:
            timer = min(due, key=lambda one: one.when)
            self.now = max(self.now, timer.when)
            self.timers.remove(timer)
            timer.function()
        self.now = end


class _Thread:
    def __init__(self, clockwork: Clockwork, function: Callable[[], object]):
        self._clockwork = clockwork
        self._function = function

    def start(self) -> None:
        self._clockwork.timers.append(Timer(self._clockwork.now, self._function))

    def join(self, timeout: float) -> None:
        pass


class Told:
    """An Answers that notes what it hears."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def respond(self, request: Any, outputs: Any, *, parameters: Any = None, error: Any = None, final: Any = 1) -> None:
        self.said.append(("error" if error is not None else "respond", request))

    def finish(self, request: Any) -> None:
        self.said.append(("finish", request))

    def reschedule(self, request: Any) -> None:
        self.said.append(("reschedule", request))

    def released(self, batch: int, execution_ns: int) -> None:
        self.said.append(("released", batch))

    def down(self, reason: str) -> None:
        self.said.append(("down", reason))

    def up(self) -> None:
        self.said.append(("up",))

    def settle(self) -> None:
        self.said.append(("settle",))


class FakeLink:
    """A Link to no process."""

    def __init__(self, clockwork: Clockwork, facts: dict[str, Any] | None = None):
        self.facts = facts or {}
        self.end_reason = ""
        self.began_ns = clockwork.now_ns()
        self.begun: list[int] = []
        self.failure: Exception | None = None
        self.stopped = 0
        self.killed: list[str] = []
        self.spec = type("Spec", (), {"name": "m_0_0", "model": "m", "version": "1"})()
        self.child = type("Child", (), {"kill": lambda _, because: self.killed.append(because), "spec": self.spec})()

    def begin(self, batch: int, requests: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.begun.append(batch)

    def flush(self) -> None:
        pass

    def stop(self, timeout_s: float) -> None:
        self.stopped += 1
