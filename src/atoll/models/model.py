"""A loaded model version: what it expects, what it runs on, what it has counted."""

from collections.abc import Mapping
from time import monotonic_ns

from atoll.backends.api import BackendModel
from atoll.config.metadata import ModelMetadata, TensorMetadata
from atoll.config.model_config import ModelConfig
from atoll.execution.pool import InstancePool
from atoll.models.lifecycle import Lifecycle, ModelState
from atoll.models.request_validation import InputSpec, RequestSpec, validate
from atoll.observability.statistics import ModelStatistics, StatisticsRecorder
from atoll.request import InferenceRequest


class Model:
    """Made by models/loader.py, READY from then on until `unload`. Thread-safe."""

    def __init__(
        self,
        config: ModelConfig,
        version: str,
        *,
        platform: str,
        spec: RequestSpec,
        pool: InstancePool,
        backend_model: BackendModel,
        statistics: StatisticsRecorder,
    ):
        self.name = config.name
        self.version = version
        self.config = config
        self.lifecycle = Lifecycle()
        self._platform = platform
        self._spec = spec
        self._pool = pool
        self._backend_model = backend_model
        self._recorder = statistics
        self.decoupled = config.decoupled
        self.lifecycle.move(ModelState.LOADING)
        pool.start()
        self.lifecycle.move(ModelState.READY)
        self.ready = True  # the lifecycle's word, where every request looks

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
        return self._recorder.snapshot(self._pool.pending())

    def in_flight(self) -> int:
        """How many requests are queued or executing."""
        return self._pool.in_flight()

    # ---- run

    def submit(self, request: InferenceRequest) -> None:
        """Validate and queue. Raises AtollError when the request is refused; its sender then hears nothing."""
        timeline = request.timeline
        if not timeline.request_start:
            timeline.request_start = monotonic_ns()
        validate(request, self._spec)
        self._pool.submit(request)

    # ---- stop

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
        clean = self._pool.stop(deadline_ns)
        if clean:
            self._backend_model.close()
        self.lifecycle.move(ModelState.UNAVAILABLE, "unloaded")
        return clean

    def __repr__(self) -> str:
        return f"Model({self.name!r}, version {self.version}, {self.lifecycle.state.value})"
