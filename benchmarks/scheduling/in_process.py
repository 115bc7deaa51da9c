"""What can be measured without a client: the batcher's own cost for a request, and what a live sequence holds."""

import gc
import resource
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import atoll
from atoll.config.model_config import ModelConfig, ModelDynamicBatching, ModelInput, ModelOutput
from atoll.execution.batching.batch import plan_batches
from atoll.execution.clock import Clock
from atoll.execution.instance import ModelInstance
from atoll.execution.pool import InstancePool
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import Defer, InferenceRequest, InferenceResponse
from atoll.scheduling.choose import choose_scheduler
from atoll.tensor import DataType, Tensor
from benchmarks.scheduling.repository import LIVE_STATE, lay_out_live

THREADS = 8
OUTSTANDING = 16  # requests of each thread that are on their way at once
PAGE = resource.getpagesize()
_ROW = np.zeros((1, 16), np.float32)


@dataclass(frozen=True)
class BatcherCost:
    """Microseconds for each request: of processor time in all and of the requests' own making, and of the clock."""

    cpu_us: float
    making_us: float
    wall_us: float
    mean_batch: float

    @property
    def own_us(self) -> float:
        """Queueing, forming batches, joining, splitting, counting and answering."""
        return self.cpu_us - self.making_us


class _Null:
    """A backend that does nothing."""

    def execute(self, inputs: Mapping[str, Any], output_names: Sequence[str]) -> Mapping[str, Any]:
        return {"OUTPUT0": inputs["INPUT0"]}

    def close(self) -> None:
        pass


class Window:
    """How many answers a thread still waits for: at most `outstanding`."""

    def __init__(self, outstanding: int = OUTSTANDING) -> None:
        self._outstanding = outstanding
        self._room = threading.Semaphore(outstanding)

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self._room.release()

    def wait(self) -> None:
        self._room.acquire()

    def wait_for_all(self) -> None:
        for _ in range(self._outstanding):
            self._room.acquire()


@contextmanager
def null_pool(statistics: StatisticsRecorder, *, driven_by_submitter: bool = False) -> Iterator[InstancePool]:
    """A running pool, with one instance, of a dynamically batched model that does nothing."""
    config = ModelConfig(
        name="null",
        max_batch_size=32,
        input=(ModelInput(name="INPUT0", data_type=DataType.FP32, dims=(16,)),),
        output=(ModelOutput(name="OUTPUT0", data_type=DataType.FP32, dims=(16,)),),
        dynamic_batching=ModelDynamicBatching(),
    )
    clock = Clock()
    instance = ModelInstance("null", _Null(), plan_batches(config), "1", statistics)
    pool = InstancePool("null", choose_scheduler(config), [instance], clock, bounded=driven_by_submitter)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop(time.monotonic_ns() + 10**10)
        clock.close()


def batcher_cost(requests: int) -> BatcherCost:
    """Of a dynamically batched model that does nothing, with `requests` of each of 8 threads."""
    statistics = StatisticsRecorder("null", "1")
    with null_pool(statistics) as pool:

        def ask() -> None:
            window = Window()
            for _ in range(requests):
                window.wait()
                request = null_request(window)
                request.timeline.request_start = time.monotonic_ns()
                pool.submit(request)
            window.wait_for_all()

        def only_make() -> None:
            window = Window()
            for _ in range(requests):
                window.wait()
                request = null_request(window)
                request.timeline.request_start = time.monotonic_ns()
                window.send(None, True)

        cpu_s, wall_s = _timed(ask)
        making_s, _ = _timed(only_make)
        counted = statistics.snapshot()
    total = THREADS * requests
    return BatcherCost(
        cpu_us=cpu_s / total * 1e6,
        making_us=making_s / total * 1e6,
        wall_us=wall_s / total * 1e6,
        mean_batch=counted.inference_count / max(counted.execution_count, 1),
    )


def null_request(window: Window, defer: Defer | None = None) -> InferenceRequest:
    """One row for the model that does nothing."""
    tensor = Tensor("INPUT0", DataType.FP32, (1, 16), array=_ROW)
    return InferenceRequest("null", {"INPUT0": tensor}, window, defer=defer)


def _timed(work: Any) -> tuple[float, float]:
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    began, used = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.process_time() - used, time.monotonic() - began


@dataclass(frozen=True)
class LiveSequences:
    """`held_bytes`: by how much the process grew for each of the live ones; `kept_bytes`: what is left of that when
    they have ended. `wrong`: answers that were not their own sequence's.
    """

    count: int
    held_bytes: float
    kept_bytes: float
    rate: float
    wrong: int


def live_sequences(count: int, folder: Path) -> LiveSequences:
    """Starts so many sequences of a model with implicit state, asks each again while all are live, and ends them."""
    with atoll.Server(lay_out_live(folder, count)) as server:
        _round(server, 64, 0, "sequence_start")
        _round(server, 64, 0, "sequence_end")
        began_bytes = _resident()
        started = time.monotonic()
        wrong = _round(server, count, 1, "sequence_start", [1])
        held = _resident() - began_bytes
        wrong += _round(server, count, 1, "", [2])
        wrong += _round(server, count, 1, "sequence_end", [3])
        elapsed = time.monotonic() - started
        gc.collect()
        kept = _resident() - began_bytes
    return LiveSequences(count, held / count, kept / count, 3 * count / elapsed, wrong)


class _Sums:
    """What the sequences were answered."""

    def __init__(self) -> None:
        self._room = threading.Semaphore(256)
        self.wrong = 0
        self.expected: list[float] = []

    def wait(self) -> None:
        self._room.acquire()

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            if response.error is not None:
                self.wrong += 1
            elif self.expected:
                sequence = float(response.id)
                self.wrong += bool(np.any(response["OUTPUT0"] != self.expected[0] * sequence))
        if final:
            self._room.release()

    def wait_for_all(self) -> None:
        for _ in range(256):
            self._room.acquire()


def _round(server: atoll.Server, count: int, scale: int, flag: str, expected: Sequence[float] = ()) -> int:
    """One request of each sequence; the state is the sum of what it was sent, its own number each time."""
    sums = _Sums()
    sums.expected = list(expected)
    for sequence in range(1, count + 1):
        sums.wait()
        array = np.full((1, LIVE_STATE), sequence * scale, np.float32)
        parameters: dict[str, Any] = {"sequence_id": sequence}
        if flag:
            parameters[flag] = True
        tensor = Tensor("INPUT0", DataType.FP32, array.shape, array=array)
        server.submit(InferenceRequest("with_state", {"INPUT0": tensor}, sums, id=str(sequence), parameters=parameters))
    sums.wait_for_all()
    return sums.wrong


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
