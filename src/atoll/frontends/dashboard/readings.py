"""What was read of a server at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from atoll.caching.store import CacheReading
from atoll.devices.cpu_meter import CpuReading
from atoll.devices.nvml import GpuReading
from atoll.devices.process_meter import ProcessReading
from atoll.models.index import IndexEntry
from atoll.observability.statistics.model import ModelStatistics

ModelKey: TypeAlias = tuple[str, str, str]
"""Namespace, name, version."""


@dataclass(frozen=True, slots=True)
class MachineReading:
    """Of the machine, of the server's process and of what the server keeps for all models. `cores`: the process's CPU
    time in the last interval, 1.0 is one core all the time; None before there was one.
    """

    cpu: CpuReading | None = None
    process: ProcessReading | None = None
    cores: float | None = None
    gpus: Sequence[GpuReading] = ()
    cache: CacheReading | None = None
    pool_used: int = 0
    pool_total: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """`states`: every version that anybody tried to load. `failures`: why models failed to load the last time, by name.
    `earlier`: statistics of `window_s` seconds ago; `window_s` is None where nobody looked then. `memory`: bytes by
    name and version.
    """

    states: Sequence[IndexEntry]
    failures: Mapping[str, str]
    statistics: Sequence[ModelStatistics]
    earlier: Mapping[ModelKey, ModelStatistics] = field(default_factory=dict)
    window_s: float | None = None
    memory: Mapping[tuple[str, str], int] = field(default_factory=dict)


def key_of(one: ModelStatistics) -> ModelKey:
    """Under which name its past is kept."""
    return one.labels.get("namespace", ""), one.name, one.version
