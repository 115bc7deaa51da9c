"""How busy and full the GPUs are that this process sees, and what power they take: nothing where there is none, or
where nobody can say it. It has not met a GPU here.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from atoll.devices.gpus import gpus
from atoll.devices.nvml import GpuReading
from atoll.errors import AtollError

logger = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 60.0
"""Where there was none, or the driver did not answer: so long until somebody asks again."""


class GpuMeter:
    """Thread-safe. A reading is at least `interval_s` seconds older than the one after it."""

    def __init__(
        self,
        interval_s: float,
        environment: Mapping[str, str] = os.environ,
        *,
        readings: Callable[[Mapping[str, str]], tuple[GpuReading, ...]] = gpus,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._interval_s = interval_s
        self._environment = environment
        self._readings = readings
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: tuple[GpuReading, ...] = ()
        self._due_s = clock()
        self._told = ""
        self._first_joules: dict[str, float] = {}

    def read(self) -> tuple[GpuReading, ...]:
        """Each GPU's latest reading; its energy is that since the first one. Never raises."""
        with self._lock:
            now = self._clock()
            if now >= self._due_s:
                self._latest = tuple(map(self._since_start, self._measure()))
                self._due_s = now + (self._interval_s if self._latest else max(LOOK_AGAIN_S, self._interval_s))
            return self._latest

    def _measure(self) -> tuple[GpuReading, ...]:
        try:
            return self._readings(self._environment)
        except AtollError as error:
            if str(error) != self._told:  # once: it is asked again and again
                self._told = str(error)
                logger.warning("there are no GPU metrics: %s", error)
        except Exception:
            logger.exception("GPUs cannot be measured")
        return ()

    def _since_start(self, gpu: GpuReading) -> GpuReading:
        if gpu.energy_joules is None:
            return gpu
        first = self._first_joules.setdefault(gpu.uuid, gpu.energy_joules)
        if gpu.energy_joules < first:  # the driver was loaded anew
            first = self._first_joules[gpu.uuid] = 0.0
        return replace(gpu, energy_joules=gpu.energy_joules - first)
