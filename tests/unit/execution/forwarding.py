"""A model version whose instances take requests as they are: its pool over fakes that do as they are told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic_ns

import numpy as np

from atoll.backends.api import Answers
from atoll.config.model_config import ModelConfig, ModelDynamicBatching, ModelInput, ModelOutput
from atoll.errors import UnavailableError
from atoll.execution.batching.batch import plan_batches
from atoll.execution.clock import Clock
from atoll.execution.forwarding import ForwardingPool
from atoll.execution.permit import Permit
from atoll.execution.request_instance import RequestModelInstance
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import Defer, InferenceRequest, InferenceResponse, Parameter
from atoll.scheduling.choose import choose_scheduler
from atoll.scheduling.scheduler import Scheduler
from atoll.tensor import DataType, Tensor

SECOND_NS = 1_000_000_000


class FakeRequests:
    """A RequestInstance that answers what the test says, and holds the pool to what it may give."""

    def __init__(self, concurrency: int = 1, depth: int = 0):
        self.concurrency = concurrency
        self.depth = depth
        self.answers: Answers
        self.batches: dict[int, list[InferenceRequest]] = {}  # given, and not released
        self.waiting: list[InferenceRequest] = []  # given, and not answered
        self.up = True
        self.closed = 0
        self.clean = True
        self.cancelled: list[InferenceRequest] = []
        self.unflushed = 0
        self.allowed = concurrency + depth

    def open(self, answers: Answers) -> None:
        self.answers = answers

    def begin(self, batch: int, requests: Sequence[InferenceRequest]) -> None:
        assert self.up, "it was given a batch while it was down"
        assert not self.closed, "it was given a batch after its end"
        assert batch not in self.batches
        self.batches[batch] = list(requests)
        assert len(self.batches) <= self.allowed, "it was given more batches than it takes"
        self.waiting += requests
        self.unflushed += 1

    def flush(self) -> None:
        self.unflushed = 0

    def cancel(self, request: InferenceRequest) -> None:
        self.cancelled.append(request)

    @property
    def says_ready(self) -> bool:
        return False

    def is_ready(self, timeout_s: float) -> bool:
        return self.up

    def close(self, deadline_ns: int) -> bool:
        self.closed += 1
        return self.clean

    # ---- what the test lets it do

    def respond(self, request: InferenceRequest, final: bool = True, value: int = 1) -> None:
        array = np.full((request.batch_size, 2), value, np.int32)
        outputs = [Tensor("OUT", DataType.INT32, array.shape, array=array)]
        if final:
            self.waiting.remove(request)
        self.answers.respond(request, outputs, final=final)
        self.answers.settle()

    def finish(self, request: InferenceRequest) -> None:
        self.waiting.remove(request)
        self.answers.finish(request)
        self.answers.settle()

    def reschedule(self, request: InferenceRequest) -> None:
        self.waiting.remove(request)
        self.answers.reschedule(request)
        self.answers.settle()

    def release(self, batch: int) -> None:
        del self.batches[batch]
        self.answers.released(batch, 1000)
        self.answers.settle()

    def die(self, reason: str = "it died") -> None:
        self.up = False
        self.batches.clear()
        self.waiting.clear()
        self.answers.down(reason)

    def come_back(self) -> None:
        self.up = True
        self.answers.up()


@dataclass
class Heard:
    """What a request was answered with."""

    responses: list[InferenceResponse] = field(default_factory=list)
    finals: int = 0

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        assert not self.finals, "it was answered after its end"
        if response is not None:
            self.responses.append(response)
        self.finals += final

    @property
    def error(self) -> str:
        """The last response's."""
        return str(self.responses[-1].error or "")


class Forwarding:
    """A pool with its fakes."""

    def __init__(
        self,
        count: int = 1,
        *,
        concurrency: int = 1,
        depth: int = 0,
        delay_us: int = 0,
        max_batch: int = 4,
        scheduler: Scheduler | None = None,
        permits: Sequence[Permit] = (),
    ):
        self.config = ModelConfig(
            name="m",
            max_batch_size=max_batch,
            input=(ModelInput(name="IN", data_type=DataType.INT32, dims=(2,)),),
            output=(ModelOutput(name="OUT", data_type=DataType.INT32, dims=(2,)),),
            dynamic_batching=ModelDynamicBatching(max_queue_delay_microseconds=delay_us),
        )
        self.plan = plan_batches(self.config)
        self.statistics = StatisticsRecorder("m", "1")
        self.concurrency, self.depth = concurrency, depth
        self.fakes: dict[RequestModelInstance, FakeRequests] = {}
        instances = [self.instance() for _ in range(count)]
        self.clock = Clock()
        for instance, permit in zip(instances, permits, strict=False):
            instance.permit = permit
        self.pool = ForwardingPool("m", scheduler or choose_scheduler(self.config), instances, self.clock)
        self.available: list[bool] = []
        self.pool.start()

    def instance(self) -> RequestModelInstance:
        """One more, which the pool does not know."""
        fake = FakeRequests(self.concurrency, self.depth)
        one = RequestModelInstance(f"m_{len(self.fakes)}", fake, self.plan, "1", self.statistics)
        self.fakes[one] = fake
        return one

    def submit(
        self, rows: int = 1, defer: Defer | None = None, **parameters: Parameter
    ) -> tuple[InferenceRequest, Heard]:
        heard = Heard()
        array = np.zeros((rows, 2), np.int32)
        request = InferenceRequest("m", {"IN": Tensor("IN", DataType.INT32, array.shape, array=array)}, heard)
        request.batch_size = rows
        request.defer = defer
        request.parameters = parameters
        request.timeline.request_start = monotonic_ns()
        self.pool.submit(request)
        return request, heard

    def try_submit(self, rows: int = 1, defer: Defer | None = None) -> tuple[InferenceRequest, Heard] | None:
        """None where the pool refuses."""
        try:
            return self.submit(rows, defer)
        except UnavailableError:
            return None

    def stop(self) -> bool:
        clean = self.pool.stop(monotonic_ns() + 30 * SECOND_NS)
        self.clock.close()
        return clean
