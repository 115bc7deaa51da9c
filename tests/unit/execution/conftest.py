"""A model version without files: a pool of fake instances behind its scheduler."""

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any

import numpy as np
import pytest
from tests.unit.execution.forwarding import Forwarding

from atoll.config.model_config import ModelConfig, ModelDynamicBatching, ModelInput, ModelOutput
from atoll.execution.batching.batch import plan_batches
from atoll.execution.clock import Clock
from atoll.execution.instance import ModelInstance
from atoll.execution.permit import Permit
from atoll.execution.pool import InstancePool
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import Defer, InferenceRequest, InferenceResponse, Parameter
from atoll.scheduling.choose import choose_scheduler
from atoll.scheduling.scheduler import Scheduler
from atoll.tensor import DataType, Tensor
from atoll.testing.fake_backend import FakeInstance

SECOND_NS = 1_000_000_000
PATIENCE_S = 30


def double(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"OUT": inputs["IN"] * 2}


@dataclass
class Sender:
    """Collects what a request is answered with."""

    answers: "queue.Queue[InferenceResponse]" = field(default_factory=queue.Queue)
    finals: int = 0

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self.finals += final
        if response is not None:
            self.answers.put(response)

    def response(self) -> InferenceResponse:
        return self.answers.get(timeout=PATIENCE_S)


@dataclass
class Harness:
    """The pool, its fake instances and its statistics."""

    pool: InstancePool
    fakes: list[FakeInstance]
    statistics: StatisticsRecorder

    def submit(
        self, rows: int = 1, value: int = 1, defer: Defer | None = None, **parameters: Parameter
    ) -> tuple[InferenceRequest, Sender]:
        sender = Sender()
        array = np.full((rows, 2), value, np.int32)
        request = InferenceRequest("m", {"IN": Tensor("IN", DataType.INT32, array.shape, array=array)}, sender)
        request.batch_size = rows
        request.defer = defer
        request.parameters = parameters
        request.timeline.request_start = monotonic_ns()
        self.pool.submit(request)
        return request, sender

    def stop(self) -> bool:
        return self.pool.stop(monotonic_ns() + PATIENCE_S * SECOND_NS)


Make = Callable[..., Harness]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Harness] = []
    clock = Clock()

    def build(
        *,
        max_batch_size: int = 8,
        delay_us: int = 0,
        dynamic: bool = True,
        count: int = 1,
        bounded: bool = True,
        compute: Callable[..., Any] = double,
        scheduler: Scheduler | None = None,
        permits: Sequence[Permit] = (),
    ) -> Harness:
        config = ModelConfig(
            name="m",
            max_batch_size=max_batch_size,
            input=(ModelInput(name="IN", data_type=DataType.INT32, dims=(2,)),),
            output=(ModelOutput(name="OUT", data_type=DataType.INT32, dims=(2,)),),
            dynamic_batching=ModelDynamicBatching(max_queue_delay_microseconds=delay_us) if dynamic else None,
        )
        statistics = StatisticsRecorder("m", "1")
        fakes = [FakeInstance(compute) for _ in range(count)]
        plan = plan_batches(config)
        instances = [ModelInstance(f"m_{i}", fake, plan, "1", statistics) for i, fake in enumerate(fakes)]
        for instance, permit in zip(instances, permits, strict=False):
            instance.permit = permit
        pool = InstancePool("m", scheduler or choose_scheduler(config), instances, clock, bounded=bounded)
        harness = Harness(pool, fakes, statistics)
        harness.pool.start()
        made.append(harness)
        return harness

    yield build
    for harness in made:
        for fake in harness.fakes:
            fake.release()
        if not all(fake.closed for fake in harness.fakes):
            harness.stop()
    clock.close()


@pytest.fixture
def forwarding() -> Iterator[Callable[..., Forwarding]]:
    """Makes pools of instances that take requests."""
    made: list[Forwarding] = []

    def build(**options: Any) -> Forwarding:
        made.append(Forwarding(**options))
        return made[-1]

    yield build
    for one in made:
        one.stop()
