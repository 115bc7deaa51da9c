"""Reads a server now and then, for as long as somebody looks at the page, and keeps what it read in the last seconds.

Nothing runs by itself: who asks has it read, at most once a second, however many ask. What was read lies here, so that
viewers do not disturb each other.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from atoll.devices.cpu_meter import CpuMeter
from atoll.devices.gpu_meter import GpuMeter
from atoll.devices.process_meter import ProcessMeter
from atoll.frontends.dashboard.readings import MachineReading, ModelKey, Reading, key_of
from atoll.frontends.dashboard.rows import Row, ordered, rows
from atoll.frontends.dashboard.window import same_counts
from atoll.observability.statistics.model import ModelStatistics
from atoll.observability.statistics.recent_errors import RecentError
from atoll.slices import Slices

if TYPE_CHECKING:
    from atoll.server import Server

LEAST_S: Final = 0.9  # between two readings
WINDOW_S: Final = 10.5  # what rates and percentiles are made of; five readings of a page that asks every 2 s
FORGOTTEN_S: Final = 30.0  # after which the past tells nothing about now

Past = tuple[float, dict[ModelKey, ModelStatistics]]


@dataclass(frozen=True, slots=True)
class Sample:
    """`rows`: worst first. `window_s`: the seconds that rates are of; None: nobody looked before. `up_s`: for how long
    the frontends have been there.
    """

    rows: Sequence[Row]
    machine: MachineReading
    errors: Sequence[RecentError]
    window_s: float | None
    up_s: float
    ready: bool


class Sampler:
    """Of one server. Thread-safe; whoever asks while it reads waits for the same sample."""

    def __init__(self, server: "Server", clock: Callable[[], float] = time.monotonic):
        self._server = server
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._past: deque[Past] = deque()
        self._latest: Sample | None = None
        self._meters: Meters | None = None

    def look(self) -> Sample:
        """How it is now, or was less than a second ago. Takes some milliseconds with hundreds of models: not for an
        event loop's thread.
        """
        with self._lock:
            now = self._clock()
            if self._latest is None or not self._past or now - self._past[-1][0] >= LEAST_S:
                self._latest = self._read(now)
            return self._latest

    def _read(self, now: float) -> Sample:
        server = self._server
        self._forget(now)
        pace = Slices()  # requests for inference come first
        statistics = self._statistics(pace)
        window_s, earlier = self._earlier(now)
        reading = Reading(
            states=server.model_states(),
            failures={name: str(error) for name, error in server.failures().items()},
            statistics=statistics,
            earlier=earlier,
            window_s=window_s,
            memory=server.model_memory(),
        )
        found: list[Row] = []
        for row in rows(reading):
            found.append(row)
            pace()
        self._keep(now, statistics)
        return Sample(
            ordered(found), self._machine(now), server.recent_errors(), window_s, now - self._began, server.ready()
        )

    def _forget(self, now: float) -> None:
        past = self._past
        if past and now - past[-1][0] > FORGOTTEN_S:
            past.clear()
            self._meters = None
        while len(past) > 1 and now - past[0][0] > WINDOW_S:
            past.popleft()

    def _statistics(self, pace: Slices) -> list[ModelStatistics]:
        found = []
        for model in self._server.models():
            found.append(model.statistics())
            pace()
        return found

    def _keep(self, now: float, statistics: list[ModelStatistics]) -> None:
        """A model that rests is in the past as one object, however often it was read."""
        before = self._past[-1][1] if self._past else {}
        kept = {}
        for one in statistics:
            key = key_of(one)
            known = before.get(key)
            kept[key] = known if known is not None and same_counts(known, one) else one
        self._past.append((now, kept))

    def _earlier(self, now: float) -> tuple[float | None, dict[ModelKey, ModelStatistics]]:
        if not self._past:
            return None, {}
        then, statistics = self._past[0]
        return now - then, statistics

    def _machine(self, now: float) -> MachineReading:
        if self._meters is None:
            self._meters = Meters(now)
        return self._meters.read(self._server, now)


class Meters:
    """Of the machine and the process. Made when somebody looks: before, nothing here was measured."""

    def __init__(self, now: float):
        self._cpu = CpuMeter(LEAST_S)
        self._gpus = GpuMeter(LEAST_S)
        self._process = ProcessMeter()
        self._read_at = now
        self._spent_s: float | None = None

    def read(self, server: "Server", now: float) -> MachineReading:
        """Uses are those since the reading before."""
        process = self._process.read()
        cores = None
        if process is not None and self._spent_s is not None and now > self._read_at:
            cores = (process.cpu_s - self._spent_s) / (now - self._read_at)
        self._read_at, self._spent_s = now, None if process is None else process.cpu_s
        return MachineReading(
            self._cpu.read(),
            process,
            cores,
            self._gpus.read(),
            server.response_cache,
            server.memory_pool.used_bytes,
            server.memory_pool.total_bytes,
        )
