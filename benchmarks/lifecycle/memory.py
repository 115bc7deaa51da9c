"""Resident memory per loaded small model: an idle server with one of them, and one with many."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.lifecycle.resident import Resident, read_tree
from benchmarks.lifecycle.startup import Setting, started
from benchmarks.plan import Side
from benchmarks.progress import progress

SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """One server, idle, with so many models."""

    side: Side
    count: int
    used: Resident

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PerModel:
    """What each model beyond the first adds."""

    resident_bytes: float
    proportional_bytes: float
    threads: float


def measure(found: Sequence[Setting], port: int, scratch: Path, output: Path) -> list[Footprint]:
    """Raises ServerError where a server did not become ready."""
    footprints = []
    for number, setting in enumerate(found, 1):
        progress(f"memory [{number}/{len(found)}] {setting.side}, {setting.count} models")
        with started(setting, port, scratch, output / f"memory-{setting.side}.log") as (server, _):
            time.sleep(SETTLE_SECONDS)
            footprints.append(Footprint(setting.side, setting.count, read_tree(server.process.pid)))
    return footprints


def per_model(footprints: Sequence[Footprint], one: Footprint) -> PerModel | None:
    """Compared with the same server with the fewest models; None for that one itself."""
    least = min((other for other in footprints if other.side == one.side), key=lambda other: other.count)
    added = one.count - least.count
    if not added:
        return None
    return PerModel(
        (one.used.resident_bytes - least.used.resident_bytes) / added,
        (one.used.proportional_bytes - least.used.proportional_bytes) / added,
        (one.used.threads - least.used.threads) / added,
    )
