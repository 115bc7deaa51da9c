"""Whether the memory of an unloaded model goes back to the system, over many loads and unloads of a big one."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bodies import http_infer_request
from benchmarks.lifecycle.control import Control
from benchmarks.lifecycle.repositories import BIG, big_model, big_width
from benchmarks.lifecycle.resident import forget_peak, peak_bytes, resident_bytes
from benchmarks.plan import Tensor
from benchmarks.progress import progress
from benchmarks.servers import serving

# The index says that a model is gone shortly before its memory is given back.
STILL_SECONDS, LOOK_SECONDS, PATIENCE_SECONDS = 0.2, 0.02, 5.0
# More than this share of the model's size, between the first cycle and the last, is taken for a leak.
LEAK_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Cycle:
    """One load, one inference and one unload; sizes in bytes. `peak`: the most while it lasted."""

    number: int
    loaded: int
    unloaded: int
    peak: int
    load_seconds: float
    unload_seconds: float


@dataclass(frozen=True, slots=True)
class Cycles:
    """All of them. `before`: the server that has never loaded anything."""

    file_bytes: int
    layers: int
    before: int
    cycles: tuple[Cycle, ...]

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def growth_per_cycle(self) -> float:
        """Bytes, unloaded, from the first cycle to the last; the first one's own are the runtime's, loaded once."""
        first, last = self.cycles[0], self.cycles[-1]
        return (last.unloaded - first.unloaded) / max(last.number - first.number, 1)

    @property
    def kept(self) -> int:
        """Bytes that the last unload left over what the server had before the first load."""
        return self.cycles[-1].unloaded - self.before

    @property
    def leaks(self) -> bool:
        return self.cycles[-1].unloaded - self.cycles[0].unloaded > LEAK_SHARE * self.file_bytes


def shown(cycles: Sequence[Cycle], numbers: Sequence[int] = (1, 10, 25, 50)) -> list[Cycle]:
    """Those that a report shows: these numbers, and the last."""
    return [cycle for cycle in cycles if cycle.number in numbers or cycle is cycles[-1]]


def measure(command: str, megabytes: float, layers: int, count: int, port: int, scratch: Path, output: Path) -> Cycles:
    """Raises ServerError, ControlError."""
    progress("cycles: writing the model")
    repository = scratch / f"big-{layers}"
    size = big_model(repository, megabytes, layers).stat().st_size
    width = big_width(megabytes / layers)
    headers, body = http_infer_request([Tensor("IN", "FP32", (width,))], [np.ones(width, "<f4").tobytes()])
    explicit = f"{command} --model-control-mode=explicit"
    done = []
    with serving("atoll", explicit, repository, port, output / f"cycles-{layers}.log") as server:
        control, pid = Control(server.http_port), server.process.pid
        before = settled(pid)
        for number in range(1, count + 1):
            progress(f"cycles [{number}/{count}] {layers} layers")
            forget_peak(pid)
            load_seconds = control.load(BIG)
            control.post(f"/v2/models/{BIG}/infer", body, headers)
            loaded = settled(pid)
            unload_seconds = control.unload(BIG)
            done.append(Cycle(number, loaded, settled(pid), peak_bytes(pid), load_seconds, unload_seconds))
    return Cycles(size, layers, before, tuple(done))


def settled(pid: int) -> int:
    """The resident size, once it has been the same for a moment, or after a few seconds."""
    began = since = time.monotonic()
    size = resident_bytes(pid)
    while (now := time.monotonic()) < min(since + STILL_SECONDS, began + PATIENCE_SECONDS):
        time.sleep(LOOK_SECONDS)
        if (found := resident_bytes(pid)) != size:
            size, since = found, now
    return size
