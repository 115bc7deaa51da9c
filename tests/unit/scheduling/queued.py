"""Requests as a queue sees them, and a scheduler under a clock that the test turns."""

from collections.abc import Sequence
from typing import Any

from atoll.config.model_config import ModelConfig, ModelDynamicBatching, ModelParameter, ModelQueuePolicy
from atoll.errors import AtollError
from atoll.request import InferenceRequest, InferenceResponse
from atoll.scheduling.choose import choose_scheduler
from atoll.scheduling.scheduler import NextBatch, Scheduler, WaitUntil

MS = 1_000_000
DELAY = ModelQueuePolicy.TimeoutAction.DELAY


class Silent:
    """A ResponseSender that nobody listens to."""

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        pass


def queued(name: str = "", *, size: int = 1, key: object = None, priority: int = 0, timeout_ms: int = 0) -> Any:
    """A validated request."""
    request = InferenceRequest("m", {}, Silent(), id=name, priority=priority, timeout_us=timeout_ms * 1000)
    request.batch_size = size
    request.batch_key = key
    return request


def policy(**facts: Any) -> ModelQueuePolicy:
    """`timeout_ms` in the place of the key's microseconds."""
    if "timeout_ms" in facts:
        facts["default_timeout_microseconds"] = facts.pop("timeout_ms") * 1000
    return ModelQueuePolicy(**facts)


def configuration(*, max_batch_size: int = 8, strategy: str = "", **batching: Any) -> ModelConfig:
    if "delay_ms" in batching:
        batching["max_queue_delay_microseconds"] = batching.pop("delay_ms") * 1000
    parameters = {"batch_strategy": ModelParameter(string_value=strategy)} if strategy else {}
    dynamic = ModelDynamicBatching(**batching)
    return ModelConfig(name="m", max_batch_size=max_batch_size, dynamic_batching=dynamic, parameters=parameters)


class Turned:
    """A model's scheduler, and the moment, in milliseconds, at which it is asked."""

    def __init__(self, config: ModelConfig):
        self.scheduler: Scheduler = choose_scheduler(config)
        self.ms = 1000

    @property
    def now_ns(self) -> int:
        return self.ms * MS

    def enqueue(self, *requests: InferenceRequest) -> None:
        for request in requests:
            request.timeline.queue_start = self.now_ns
            self.scheduler.enqueue(request, self.now_ns)

    def refused(self, request: InferenceRequest) -> str:
        """What is said to a request that is not taken."""
        try:
            self.enqueue(request)
        except AtollError as error:
            return str(error)
        raise AssertionError("it was taken")

    def batch(self) -> NextBatch:
        # Who asks at the very nanosecond that it was told is a pool that takes no more requests.
        return self.scheduler.next_batch(self.now_ns + 1, 0)

    def names(self) -> list[str]:
        """Of the requests that run now."""
        batch = self.batch()
        assert batch is not None
        assert not isinstance(batch, WaitUntil)
        return names(batch)

    def all_names(self) -> list[list[str]]:
        """Of the batches that run now, until none is left."""
        found = []
        while isinstance(batch := self.batch(), Sequence):
            found.append(names(batch))
        return found

    def expired(self) -> list[tuple[str, str]]:
        return [(request.id, str(error)) for request, error in self.scheduler.expire(self.now_ns)]

    @property
    def expiry_ms(self) -> int:
        """When the pool is to come back; 0: not as things are."""
        return self.scheduler.next_expiry_ns() // MS


def names(requests: Sequence[InferenceRequest]) -> list[str]:
    return [request.id for request in requests]
