"""A loaded model version: what it expects, what it runs on, what it has counted."""

from collections.abc import Callable, Mapping, Sequence
from os import urandom
from pathlib import Path
from time import monotonic_ns

from atoll.backends.api import BackendModel, Instance, Placement, RequestInstance
from atoll.config.metadata import ModelMetadata, TensorMetadata
from atoll.config.model_config import ModelConfig
from atoll.errors import AtollError, OverloadedError, UnavailableError
from atoll.execution.deadline import Deadlines
from atoll.execution.instance import ModelInstance
from atoll.execution.pool_api import Pool
from atoll.execution.request_instance import RequestModelInstance
from atoll.models.admission import Admission, Closed
from atoll.models.lifecycle import Lifecycle, ModelState
from atoll.models.memory import ArenaHold
from atoll.models.request_validation import InputSpec, RequestSpec, validate
from atoll.observability.statistics.model import ModelStatistics
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import InferenceRequest


class Model:
    """Made by models/loader.py, READY from then on until `unload`. Thread-safe.

    `directory` is the model's folder. `backend_model` is None for an ensemble, which runs other models. `labels`: of
    each output that has a labels file, its lines.
    """

    def __init__(
        self,
        config: ModelConfig,
        version: str,
        *,
        platform: str,
        spec: RequestSpec,
        pool: Pool,
        backend_model: BackendModel | None,
        statistics: StatisticsRecorder,
        directory: Path,
        labels: Mapping[str, tuple[str, ...]] | None = None,
        is_available: Callable[[], bool] = lambda: True,
        deadlines: Deadlines,
        admission: Admission | None = None,
        own_admission: Admission | None = None,
    ):
        self.name = config.name
        self.version = version
        self.config = config
        self.directory = directory
        self.lifecycle = Lifecycle()
        self._platform = platform
        self._spec = spec
        self._pool = pool
        self._backend_model = backend_model
        self.recorder = statistics
        self.decoupled = config.decoupled
        self.labels: Mapping[str, tuple[str, ...]] = labels or {}
        self.memory_bytes = 0  # by how much the process grew while it was built; 0 where nobody measured
        self.arena: ArenaHold | None = None  # of the thread that built it; to be released when it is gone
        self._successor: Callable[[InferenceRequest], Model] | None = None
        self.lifecycle.move(ModelState.LOADING)
        pool.start()
        self.lifecycle.move(ModelState.READY)
        self.ready = True  # the lifecycle's word, where every request looks
        self._is_available = is_available
        self._deadlines = deadlines
        self._has_limit = deadlines.limit_ns > 0
        self._admission = admission  # the server's, of what clients send; None: as much as they like
        self._own_admission = own_admission  # of what anybody sends
        own = urandom(16)
        self.identity: Callable[[], bytes | None] = lambda: own  # in the keys of the response cache

    # ---- what it says of itself

    @property
    def input_specs(self) -> Mapping[str, InputSpec]:
        """What the model expects of each input, by name."""
        return self._spec.inputs

    def metadata(self, versions: tuple[str, ...]) -> ModelMetadata:
        """The metadata document; `versions` are those that the answer is to list."""
        batch = (-1,) if self.config.max_batch_size > 0 else ()
        return ModelMetadata(
            name=self.name,
            versions=versions,
            platform=self._platform,
            inputs=tuple(TensorMetadata(i.name, i.data_type, (*batch, *i.dims)) for i in self.config.input),
            outputs=tuple(TensorMetadata(o.name, o.data_type, (*batch, *o.dims)) for o in self.config.output),
        )

    def statistics(self) -> ModelStatistics:
        """A snapshot of what has been counted so far."""
        return self.recorder.snapshot(self._pool.pending(), self._pool.in_flight())

    def pending(self) -> int:
        """How many requests wait in the queue."""
        return self._pool.pending()

    def in_flight(self) -> int:
        """How many requests are queued or executing."""
        return self._pool.in_flight()

    def is_busy(self) -> bool:
        """Whether requests are queued or executing, or sequences have begun that may go on."""
        return self._pool.in_flight() > 0 or self._pool.sequences() > 0

    def process_bytes(self) -> int:
        """What its processes have in memory, where it has any of its own."""
        measure = getattr(self._backend_model, "memory_bytes", None)
        return int(measure()) if measure is not None else 0

    @property
    def available(self) -> bool:
        """False while every process that executes it is down."""
        return self._is_available()

    @property
    def says_ready(self) -> bool:
        """Whether its code has a word of its own on whether it is ready, which takes a moment to ask."""
        return any(isinstance(one, RequestModelInstance) and one.says_ready for one in self.instances())

    def is_ready(self, timeout_s: float) -> bool:
        """Whether it takes requests: of a model that `says_ready`, whether any instance says so within that time."""
        if not (self.ready and self.available):
            return False
        asked = [one for one in self.instances() if isinstance(one, RequestModelInstance) and one.says_ready]
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        return not asked or any(one.is_ready(max(deadline_ns - monotonic_ns(), 0) / 1e9) for one in asked)

    # ---- run

    def submit(self, request: InferenceRequest) -> None:
        """Validate and queue a client's request. Raises AtollError where it is refused; its sender hears nothing."""
        if self._admission is None:
            self.accept(request)
        else:
            self._admitted(request, self._admission, self.accept)

    def accept(self, request: InferenceRequest) -> None:
        """The same for a request that the engine itself makes: a step of an ensemble, another model's."""
        if self._own_admission is None:
            self._queue(request)
        else:
            self._admitted(request, self._own_admission, self._queue)

    def _admitted(
        self, request: InferenceRequest, admission: Admission, go_on: Callable[[InferenceRequest], None]
    ) -> None:
        try:
            admitted = admission.admit(request)
        except OverloadedError as error:
            self.recorder.record_failure(request, monotonic_ns(), "REJECTED", error)
            raise
        except AtollError as error:
            self.recorder.record_refusal(request, error)
            raise
        try:
            go_on(request)
        except BaseException:
            admitted.withdraw(request)
            raise

    def _queue(self, request: InferenceRequest) -> None:
        timeline = request.timeline
        if not timeline.request_start:
            timeline.request_start = monotonic_ns()
        if request.trace is not None:
            request.trace.queued(request, self.name, self.version)
        try:
            validate(request, self._spec)
            watched = None
            if request.deadline_ns or self._has_limit:
                watched = self._deadlines.watch(request)
        except AtollError as error:
            self.recorder.record_refusal(request, error)
            raise
        try:
            self._pool.submit(request)
        except AtollError as error:
            if watched is not None and not watched.unwatch():
                self.recorder.record_refusal(request, self._deadlines.exceeded(request))
                return  # its deadline came meanwhile, and it is answered
            if self._successor is None or not isinstance(error, UnavailableError):
                self.recorder.record_refusal(request, error)
                raise
            self._successor(request).accept(request)  # it came between the change of models and this one's end

    @property
    def last_used_ns(self) -> int:
        """When a request was last taken, on the monotonic clock."""
        return self._pool.last_used_ns

    def instances(self) -> "list[ModelInstance | RequestModelInstance]":
        """Those that take batches now."""
        return self._pool.instances()

    def instance(self, placement: Placement) -> Instance | RequestInstance:
        """The backend's part of one more instance."""
        assert self._backend_model is not None, "an ensemble has no instances. This is a bug"
        return self._backend_model.instance(placement)

    def change_instances(
        self,
        config: ModelConfig,
        added: "Sequence[ModelInstance | RequestModelInstance]",
        removed: "Sequence[ModelInstance | RequestModelInstance]",
    ) -> bool:
        """Serve on with other instances, and say `config` from now on; False when the model is being unloaded."""
        if not self._pool.change_instances(added, removed):
            return False
        self.config = config
        return True

    # ---- stop

    def retire(self, successor: Callable[[InferenceRequest], "Model"]) -> None:
        """Another takes this one's place: refuse, and pass on what still comes here to what `successor` returns."""
        self._successor = successor
        self._pool.refuse()

    def close_to_clients(self) -> None:
        """Take no more requests but those that models make, and let none wait for company."""
        self._admission = Closed(self.name)
        self._pool.hurry()

    def refuse(self) -> None:
        """Take no more requests, and answer those taken."""
        self._pool.refuse()

    def drain(self, deadline_ns: int) -> bool:
        """Refuse, and wait until every request taken is answered; False when the deadline came first."""
        self._pool.refuse()
        return self._pool.drain(deadline_ns)

    def unload(self, deadline_ns: int) -> bool:
        """Free everything, after `drain`. False when an execution outlasted the deadline and could not be freed."""
        self.ready = False
        self.lifecycle.move(ModelState.UNLOADING)
        try:
            clean = self._pool.stop(deadline_ns)
            if clean and self._backend_model is not None:
                self._backend_model.close()
        finally:
            self.lifecycle.move(ModelState.UNAVAILABLE, "unloaded")
        return clean

    def __repr__(self) -> str:
        return f"Model({self.name!r}, version {self.version}, {self.lifecycle.state.value})"
