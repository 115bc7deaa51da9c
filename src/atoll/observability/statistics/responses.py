"""What is counted of the single responses of models that send any number of them to a request, by their place in it.

Source of the names: Triton's statistics extension (response_stats).
"""

import threading
from dataclasses import dataclass

from atoll.errors import AtollError, CancelledError
from atoll.observability.statistics.durations import NOTHING, Duration

MAX_PLACES = 1024
"""Responses behind so many of one request are not told apart: they would make the statistics as long as an answer."""


@dataclass(frozen=True, slots=True)
class ResponseStatistics:
    """The responses at one place. Each is in one of the last four; a duration runs from the response before it, or
    from the beginning of the execution, until it was sent.
    """

    compute_infer: Duration = NOTHING
    compute_output: Duration = NOTHING
    success: Duration = NOTHING
    fail: Duration = NOTHING
    empty_response: Duration = NOTHING
    cancel: Duration = NOTHING


_SUCCESS, _FAIL, _EMPTY, _CANCEL = range(4)


class ResponseProgress:
    """How far one request's responses are: the next one's place, and when the last one went, in monotonic ns."""

    __slots__ = ("_last_ns", "_place", "_recorder")

    def __init__(self, recorder: "ResponseRecorder", begin_ns: int):
        self._recorder = recorder
        self._place = 0
        self._last_ns = begin_ns

    @property
    def begun(self) -> bool:
        """Whether there has been a response."""
        return self._place > 0

    def record(self, now_ns: int, *, empty: bool = False, error: AtollError | None = None) -> None:
        """A response was sent. `empty`: it only said that it was the last one."""
        if self._place >= MAX_PLACES:
            return
        if error is not None:
            kind = _CANCEL if isinstance(error, CancelledError) else _FAIL
        else:
            kind = _EMPTY if empty else _SUCCESS
        self._recorder.count(self._place, kind, now_ns - self._last_ns)
        self._place += 1
        self._last_ns = now_ns


class ResponseRecorder:
    """The counters of one model version. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: list[list[int]] = []  # of each: count and ns of the four kinds

    def count(self, place: int, kind: int, duration_ns: int) -> None:
        """A response at this place; all places before it have had one."""
        with self._lock:
            if len(self._places) == place:
                self._places.append([0] * 8)
            counts = self._places[place]
            counts[2 * kind] += 1
            counts[2 * kind + 1] += duration_ns

    def snapshot(self) -> tuple[ResponseStatistics, ...]:
        """By place, from 0 on."""
        with self._lock:
            return tuple(_statistics(counts) for counts in self._places)


def _statistics(counts: list[int]) -> ResponseStatistics:
    success, fail, empty, cancel = (Duration(counts[2 * kind], counts[2 * kind + 1]) for kind in range(4))
    computed = Duration(success.count + fail.count, success.ns + fail.ns)
    return ResponseStatistics(computed, Duration(success.count, 0), success, fail, empty, cancel)
