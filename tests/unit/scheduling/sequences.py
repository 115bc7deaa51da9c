"""A sequence batcher under a clock that the test turns."""

from typing import Any

from tests.unit.scheduling.queued import MS, Silent

from atoll.config.model_config import ModelConfig, ModelParameter, ModelSequenceBatching
from atoll.errors import AtollError
from atoll.request import InferenceRequest
from atoll.scheduling.choose import choose_scheduler
from atoll.scheduling.scheduler import NextBatch, WaitUntil
from atoll.scheduling.sequences.batcher import SequenceBatcher
from atoll.scheduling.sequences.sequence import Sequence
from atoll.tensor import DataType

Direct = ModelSequenceBatching.StrategyDirect
Oldest = ModelSequenceBatching.StrategyOldest


def configuration(
    *,
    slots: int = 4,
    direct: Direct | None = None,
    oldest: Oldest | None = None,
    idle_ms: int = 1000,
    iterative: bool = False,
    backlog: str = "",
    id_type: DataType | None = None,
) -> ModelConfig:
    control = ModelSequenceBatching.Control
    ids = control(kind=control.Kind.CONTROL_SEQUENCE_CORRID, data_type=id_type or DataType.INVALID)
    inputs = (ModelSequenceBatching.ControlInput(name="CORRID", control=(ids,)),) if id_type else ()
    return ModelConfig(
        name="m",
        max_batch_size=slots,
        sequence_batching=ModelSequenceBatching(
            direct=direct,
            oldest=oldest,
            max_sequence_idle_microseconds=idle_ms * 1000,
            iterative_sequence=iterative,
            control_input=inputs,
        ),
        parameters={"max_backlog_sequences": ModelParameter(string_value=backlog)} if backlog else {},
    )


class Sequences:
    """The batcher of a model with so many instances, and the moment, in milliseconds, at which it is asked."""

    def __init__(self, instances: int = 1, **facts: Any):
        batcher = choose_scheduler(configuration(**facts))
        assert isinstance(batcher, SequenceBatcher)
        self.batcher = batcher
        for seat in range(instances):
            batcher.seat_added(seat)
        self.ms = 1000
        self.running: dict[int, list[InferenceRequest]] = {}

    @property
    def now_ns(self) -> int:
        return self.ms * MS

    def ask(
        self,
        correlation_id: object = 1,
        flags: str = "",
        name: str = "",
        *,
        timeout_ms: int = 0,
        key: object = None,
        size: int = 1,
    ) -> InferenceRequest:
        """`flags`: S and E. Named by its sequence and a letter, unless the test says how."""
        parameters: dict[str, Any] = {"sequence_id": correlation_id} if correlation_id != 0 else {}
        if "S" in flags:
            parameters["sequence_start"] = True
        if "E" in flags:
            parameters["sequence_end"] = True
        name = name or f"{correlation_id}{flags}"
        request = InferenceRequest("m", {}, Silent(), id=name, parameters=parameters, timeout_us=timeout_ms * 1000)
        request.batch_key = key
        request.batch_size = size
        request.timeline.queue_start = self.now_ns
        self.batcher.enqueue(request, self.now_ns)
        return request

    def refused(self, *arguments: Any, **facts: Any) -> str:
        """What is said to a request that is not taken."""
        try:
            self.ask(*arguments, **facts)
        except AtollError as error:
            return f"{error.code.name}: {error}"
        raise AssertionError("it was taken")

    def begin(self, seat: int = 0) -> list[str]:
        """The batch that this instance runs from now on, a filler as "-"; empty: none."""
        batch = self.next(seat)
        if batch is None or isinstance(batch, WaitUntil):
            return []
        self.running[seat] = list(batch)
        return ["-" if request.filler else request.id for request in batch]

    def next(self, seat: int = 0) -> NextBatch:
        return self.batcher.next_batch(self.now_ns, seat)

    def end(self, seat: int = 0) -> None:
        """That batch is done."""
        batch = self.running.pop(seat)
        for request in batch:
            request.timeline.request_end = self.now_ns
        self.batcher.finished(batch, seat)

    def run(self, seat: int = 0) -> list[str]:
        names = self.begin(seat)
        if names:
            self.end(seat)
        return names

    def run_all(self, seat: int = 0) -> list[list[str]]:
        """The batches of this instance, until nothing is left for it."""
        batches = []
        while names := self.run(seat):
            batches.append(names)
        return batches

    def expired(self) -> list[tuple[str, str]]:
        """What the pool's alarm would refuse, if it is due."""
        due_ns = self.batcher.next_expiry_ns()
        if not due_ns or due_ns > self.now_ns:
            return []
        return [(request.id, f"{error.code.name}: {error}") for request, error in self.batcher.expire(self.now_ns)]

    def wait(self, ms: int) -> list[tuple[str, str]]:
        self.ms += ms
        return self.expired()

    @property
    def live(self) -> int:
        """How many sequences have a slot or wait for one."""
        batcher = self.batcher
        return len(batcher._backlog) + sum(len(seat.live) for seat in batcher._seats.values())


def sequence_of(request: InferenceRequest) -> Sequence:
    assert isinstance(request.sequence, Sequence)
    return request.sequence
