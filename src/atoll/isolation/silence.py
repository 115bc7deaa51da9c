"""Whether a child that does not answer hangs, or only works: the rule, without clock or process. Pure.

A child answers from a thread of its own, so silence means that the interpreter does not run: the process is stopped, or
native code keeps the interpreter lock. As long as such a process uses the processor or waits for a disk, it works, and
may; one that does nothing at all for the whole time allowed hangs.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

_WORKING_SHARE = 0.05  # of one core, from which on a process works


class Verdict(Enum):
    """What is to be done about a child."""

    FINE = "fine"
    BUSY = "busy"  # it has been silent for the whole time, and working; said once in each silence
    HUNG = "hung"


class Activity(NamedTuple):
    """What the kernel says about a process: seconds of processor time in all, and the letter of each thread's state."""

    processor_s: float
    states: str


class Silence:
    """One child's silence. Times are in seconds of a clock that only grows."""

    def __init__(self, timeout_s: float, now: float):
        self.timeout_s = timeout_s
        self.interval_s = min(1.0, max(0.02, timeout_s / 8))  # between two ticks
        self._last_tick = now
        self._silent_since = now
        self._idle_since = now
        self._processor_s: float | None = None  # at the last tick of this silence
        self._told = False

    def tick(self, now: float, answered: bool, activity: Activity | None) -> Verdict:
        """`answered`: the child has answered what it was asked before. `activity` is needed where it has not; None: it
        cannot be had.
        """
        passed, self._last_tick = now - self._last_tick, now
        late = passed > self.interval_s + 1.0  # we were not running ourselves, so nothing was heard
        if answered or late:
            self._silent_since = self._idle_since = now
            self._told = False
            self._processor_s = None
        working = False
        if activity is not None:
            if self._processor_s is not None:
                working = activity.processor_s - self._processor_s >= passed * _WORKING_SHARE
            self._processor_s = activity.processor_s
            if working or any(one in "RDt" for one in activity.states):  # waits for a core, a disk, or a debugger
                working, self._idle_since = True, now
        if now - self._idle_since >= self.timeout_s:
            return Verdict.HUNG
        if working and now - self._silent_since >= self.timeout_s and not self._told:
            self._told = True
            return Verdict.BUSY
        return Verdict.FINE
