"""The server as a library: start, infer, ask about models, stop. No frontend, event loop or network is needed.

with atoll.Server("examples/models") as server:
    response = server.infer("simple", {"INPUT0": a, "INPUT1": b})
    response["OUTPUT0"]
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version as distribution_version
from pathlib import Path
from time import monotonic_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from atoll.caching.store import CacheReading
from atoll.calls import Inputs, LoopReply, ThreadReply, checked_priority, checked_timeout, request_of, wait_for
from atoll.config.metadata import EXTENSIONS, ModelMetadata, ServerMetadata
from atoll.errors import (
    AtollError,
    ConfigError,
    InvalidArgumentError,
    ModelAsleepError,
    UnavailableError,
)
from atoll.execution.memory_pool import HostMemoryPool
from atoll.models.events import ModelEvents
from atoll.models.fleet import Fleet
from atoll.models.function_repository import function_model
from atoll.models.index import IndexEntry
from atoll.models.load_progress import OnProgress
from atoll.models.memory_readings import MemoryReadings
from atoll.models.model import Model
from atoll.observability.metrics.custom import CustomMetrics
from atoll.observability.statistics.model import ModelStatistics
from atoll.observability.statistics.recent_errors import RecentError
from atoll.observability.tracing.options import trace_settings
from atoll.observability.tracing.settings import read_update
from atoll.observability.tracing.tracer import Tracer
from atoll.options import ServerOptions
from atoll.request import InferenceRequest, InferenceResponse, Parameter, run_at_once

if TYPE_CHECKING:
    from atoll.isolation.readers import EventLoop

logger = logging.getLogger(__name__)

NS_PER_SECOND = 1_000_000_000
READINESS_S = 5.0  # that a model's own code gets to say whether it is ready
WAKES = 5  # times that a request waits for its model, which others may have pushed out again in the meantime
_NO_PEACE = (
    "model '{}' was unloaded for others each time before it could be used: --model-memory-budget is too small for the "
    "models that are asked for at once"
)


class Server:
    """An inference server in this process. Usable from any number of threads and event loops at once.

    `model_repository`: one or more paths of model repositories in Triton's layout, or of bare model files. The other
    options are those of `ServerOptions`; each is documented in `atoll.options`. `custom_metrics`: where the models'
    own metrics are kept, if they are to share a page with others.
    """

    def __init__(
        self,
        model_repository: str | Path | Sequence[str | Path] = (),
        *,
        custom_metrics: CustomMetrics | None = None,
        **options: Any,
    ):
        paths = [model_repository] if isinstance(model_repository, (str, Path)) else list(model_repository)
        self.options = ServerOptions(model_repository=tuple(str(path) for path in paths), **options)
        self._fleet = Fleet(self.options, os.environ, custom_metrics)
        self._table = self._fleet.table
        self._memory = MemoryReadings(self._table.models)
        self.tracing = Tracer(trace_settings(self.options.trace_config))
        self._lock = threading.Lock()
        self._started = False
        self._stopping = False  # says that it is not ready
        self._stopped = False

    # ---- start

    def start(self, on_progress: OnProgress | None = None) -> Self:
        """Load the models that `model_control_mode` loads at start, several at once; returns when all are ready.

        `on_progress` hears of each, from any thread. Raises ConfigError naming every model that failed and why, with
        nothing left running, unless `exit_on_error` is off: then the others are served. NotFoundError for a repository
        that does not exist, UnavailableError for one that cannot be asked.
        """
        with self._lock:
            if self._started:
                raise InvalidArgumentError("the server was started already; a stopped server cannot start again")
            self._started = True
        try:
            failures = self._fleet.start(on_progress)
            if failures and self.options.exit_on_error:
                raise ConfigError(
                    "failed to load all models:\n"
                    + "\n".join(f"{name}: {error}" for name, error in failures.items())
                    + "\n(--exit-on-error=false, or exit_on_error=False in a program, serves the other models)",
                    [problem for error in failures.values() for problem in getattr(error, "problems", ())],
                )
        except BaseException:
            self.stop()
            raise
        return self

    def __enter__(self) -> Self:
        return self.start()

    # ---- run

    def submit(self, request: InferenceRequest) -> None:
        """Hand over a request; its sender gets the answer, from any thread.

        Raises AtollError when the request is refused at the door: unknown model, not ready, inputs that do not fit. Its
        sender then hears nothing. After a normal return the sender gets exactly one final response.
        """
        self._table.find(request.model_name, request.model_version).submit(request)

    def _submit(self, request: InferenceRequest) -> None:
        """A request of this process's own, which may be traced."""
        if not self.tracing.active:
            self.submit(request)
            return
        self.tracing.begin(request)
        try:
            self.submit(request)
        except BaseException as error:
            if request.trace is not None:
                request.trace.refused(error)
            raise

    def infer(
        self,
        model_name: str,
        inputs: Inputs,
        *,
        outputs: Sequence[str] = (),
        model_version: str | int = "",
        request_id: str = "",
        parameters: dict[str, Parameter] | None = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> InferenceResponse:
        """Run one inference and wait for its answer.

        `inputs`: arrays whose shapes include the batch dimension, where the model has one (BYTES: arrays of str or
        bytes), by name. `outputs`: the names wanted, all if empty. `priority`: the level of its queue, where the model
        has levels; 0: the default one. `timeout`: seconds to wait; the request is then cancelled and UnavailableError
        raised. Raises the AtollError with which the request was refused or failed.
        """
        timeout = checked_timeout(timeout)
        reply = ThreadReply()
        for _ in range(WAKES):
            try:
                version = str(model_version)
                specs = self._table.find(model_name, version).input_specs
                request = request_of(model_name, version, inputs, specs, reply, outputs, request_id, parameters)
                request.defer = run_at_once
                request.priority = checked_priority(priority)
                self._submit(request)
                break
            except ModelAsleepError:
                self._awake(model_name)
        else:
            raise UnavailableError(_NO_PEACE.format(model_name))
        try:
            answered = reply.wait(timeout)
        except BaseException:  # KeyboardInterrupt: nobody waits for the answer any more
            request.cancel()
            raise
        if not answered:
            request.cancel()
            raise UnavailableError(f"model '{model_name}' did not answer within {timeout} s")
        return reply.result()

    async def async_infer(
        self,
        model_name: str,
        inputs: Inputs,
        *,
        outputs: Sequence[str] = (),
        model_version: str | int = "",
        request_id: str = "",
        parameters: dict[str, Parameter] | None = None,
        priority: int = 0,
    ) -> InferenceResponse:
        """As `infer`, from a coroutine. Cancelling the coroutine cancels the request."""
        from asyncio import CancelledError, get_running_loop

        loop = get_running_loop()
        reply = LoopReply(loop)
        future = reply.future
        for _ in range(WAKES):
            try:
                version = str(model_version)
                specs = self._table.find(model_name, version).input_specs
                request = request_of(model_name, version, inputs, specs, reply, outputs, request_id, parameters)
                request.defer = loop.call_soon
                request.priority = checked_priority(priority)
                self._submit(request)
                break
            except ModelAsleepError:
                await loop.run_in_executor(None, self._awake, model_name)
        else:
            raise UnavailableError(_NO_PEACE.format(model_name))
        try:
            return await future
        except CancelledError:
            request.cancel()
            raise
        finally:
            del request, reply, future  # what is raised holds this frame, and they hold what is raised

    def load_model(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """Load a model of the repositories, or load it anew; with `model_control_mode="explicit"` only.

        Returns when the new one is served; the one before, if any, serves until then and answers all that it has
        taken. Nothing happens where what is served is what lies in the repository. `config`: a configuration in JSON
        that takes the place of the repository's. `files`: with a `config`, the model's files by path ("1/model.onnx")
        in place of the repository's.

        Raises AtollError with everything that is wrong; what was served before is served on.
        """
        self._fleet.load(name, config=config, files=files)

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        """Take a model out of service; with `model_control_mode="explicit"` only.

        It answers what it has taken and is freed after that, in the background. `unload_dependents`: an ensemble's
        steps too.
        """
        self._fleet.unload(name, unload_dependents=unload_dependents)

    def register_model_repository(self, location: str | Path, names: Mapping[str, str] | None = None) -> None:
        """Look into one more repository, with `model_control_mode="explicit"` only; nothing is loaded yet.

        `names`: names under which models are served, by their folders' names; a folder that it leaves out keeps its
        own. Raises NotFoundError where there is no repository, AlreadyExistsError where it, or one of the new names, is
        registered, UnsupportedError in another mode.
        """
        self._fleet.register(str(location), names or {})

    def unregister_model_repository(self, location: str | Path) -> None:
        """Look into it no more, registered or given at start. What was loaded from it is served until it is unloaded.

        Raises NotFoundError for one that is not looked into, UnsupportedError as above.
        """
        self._fleet.unregister(str(location))

    def add_model(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        inputs: Mapping[str, tuple[Any, ...]],
        outputs: Mapping[str, tuple[Any, ...]],
        batching: bool | int | Mapping[str, int] = False,
        instances: int = 1,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Serve a Python function as a model, before or after `start`, in every `model_control_mode`.

        `inputs`, `outputs`: by name, data type and shape, as in {"IN": ("FP32", [16])}; see TensorSpec. The function
        gets each input as a keyword argument, a numpy array that it must not write to, and returns a dict of arrays by
        output, the arrays in the outputs' order, or the array of the only output.

        `batching`: False, and shapes are what clients send; True, or the largest batch: the function is called with
        several requests at once, whose arrays have one dimension more in front. A dict may say `max_batch_size` and
        `max_queue_delay_us`, the microseconds for which a request may wait for others. `instances`: how many threads
        may call the function at once. `config`: more of a model's configuration, as in a config.json.

        A function that was added under this name before serves until this one does, and answers what it has taken. The
        function raises InvalidArgumentError where a request is at fault; anything else is an InternalError to clients.

        Raises InvalidArgumentError for arguments that do not fit, AlreadyExistsError for a name of the repositories.
        """
        self._fleet.add_function(function_model(name, function, inputs, outputs, batching, instances, config))

    def remove_model(self, name: str) -> None:
        """Serve a function no more. It answers what it has taken. Raises NotFoundError for what was not added."""
        self._fleet.remove_function(name)

    def poll_model_repository(self) -> None:
        """Look at the repositories now, and load and unload what has changed; with `model_control_mode="poll"` only.

        Files count once they have rested for `repository_settle_secs`. What fails to load is logged. Raises
        UnavailableError in another mode.
        """
        self._fleet.poll()

    def wake(self, name: str, then: Callable[[AtollError | None], None]) -> None:
        """Load a model of which somebody heard ModelAsleepError. Returns at once; `then` is called from any thread with
        None when the model is there, or with the error.
        """
        self._fleet.wake(name, then)

    def _awake(self, name: str) -> None:
        """Wait until the model is loaded. Raises the error with which that failed."""
        wait_for(partial(self.wake, name))

    def lend_loop(self, loop: "EventLoop") -> None:
        """Let an event loop, whose thread calls, read what models in processes of their own answer, which saves a
        hand-over between threads. `take_back_loop` must be called before it ends; a second loop is not used.
        """
        self._fleet.processes.lend(loop)

    def take_back_loop(self, loop: "EventLoop") -> None:
        """The loop, whose thread calls, reads no more. Does nothing for one that is not used."""
        self._fleet.processes.take_back(loop)

    # ---- what it says of itself

    def live(self) -> bool:
        """Whether the server answers at all."""
        return self._started and not self._stopped

    def ready(self) -> bool:
        """Whether requests should be sent here: it is not stopping and, with `strict_readiness`, no model failed."""
        if not self.live() or self._stopping:
            return False
        return not self.options.strict_readiness or self._fleet.all_ready()

    def metadata(self) -> ServerMetadata:
        """The server's name, version and protocol extensions."""
        return ServerMetadata(self.options.id, distribution_version("atoll"), EXTENSIONS)

    def model(self, name: str, version: str | int = "") -> Model:
        """A loaded model version; "" means the highest. Raises NotFoundError, UnavailableError."""
        return self._table.find(name, str(version))

    def models(self) -> list[Model]:
        """Every loaded version, by name, then number."""
        return self._table.models()

    def failures(self) -> dict[str, AtollError]:
        """The models whose last load failed, and why."""
        return self._fleet.failures()

    def repository_index(self, ready: bool = False) -> list[IndexEntry]:
        """Every model of the repositories and every version that anybody tried to load, with its state and the reason;
        with `ready` only the versions that are ready. Looks into the repositories, which may take a while.
        """
        entries = self._fleet.index()
        return [one for one in entries if one.state == "READY"] if ready else entries

    def model_states(self) -> list[IndexEntry]:
        """The same for the models that anybody tried to load, without a look into the repositories."""
        return self._fleet.states()

    def model_events(self) -> list[ModelEvents]:
        """How often each model that anybody tried to load was loaded, failed to load and was unloaded."""
        return self._fleet.events()

    def model_memory(self, name: str = "") -> dict[tuple[str, str], int]:
        """Bytes of host memory by model name and version, of those where it is known: their processes', or what the
        server grew by when they were loaded, which it measures under a `model_memory_budget`. Of one model's versions,
        or of all models.
        """
        return {key: size for key, size in self._memory.measure(name).items() if size}

    def recent_model_memory(self, name: str = "") -> dict[tuple[str, str], int]:
        """The same as it was some seconds ago, or when somebody last asked: for threads that must not wait."""
        return {key: size for key, size in self._memory.latest(name).items() if size}

    def recent_errors(self) -> tuple[RecentError, ...]:
        """The last requests that failed or did not fit their model, the newest first; cancelled ones are none."""
        return self._fleet.recent_errors.latest()

    @property
    def response_cache(self) -> CacheReading | None:
        """What the response cache has counted, of all models together; None without `cache_config`."""
        return self._fleet.caching.reading()

    @property
    def memory_pool(self) -> HostMemoryPool:
        """The host memory in which batches are put together."""
        return self._fleet.memory_pool

    @property
    def custom_metrics(self) -> CustomMetrics:
        """The metrics that models define themselves."""
        return self._fleet.custom_metrics

    def model_ready(self, name: str, version: str | int = "") -> bool:
        """Whether this version takes requests. A model whose code has a word of its own on that is asked, and has 5 s
        for it: see `asks_model_when_ready`. Raises NotFoundError for one that does not exist.
        """
        try:
            return self._table.find(name, str(version)).is_ready(READINESS_S)
        except ModelAsleepError:
            return True  # whoever asks it gets an answer
        except UnavailableError:
            return False

    def asks_model_when_ready(self, name: str, version: str | int = "") -> bool:
        """Whether `model_ready` asks the model's own code, and so may take a while."""
        try:
            return self._table.find(name, str(version)).says_ready
        except AtollError:
            return False

    def model_metadata(self, name: str, version: str | int = "") -> ModelMetadata:
        """A model's metadata: with no version, of the highest one, listing all that are ready. Raises NotFoundError."""
        model = self._table.find(name, str(version))
        if version:
            return model.metadata((model.version,))
        ready = sorted((one for one in self._table.versions(name).values() if one.ready), key=lambda m: int(m.version))
        return model.metadata(tuple(one.version for one in ready))

    def is_leaving(self, name: str) -> bool:
        """Whether a model that was unloaded still answers what it had taken, and so is not freed yet."""
        return self._fleet.is_leaving(name)

    def statistics(self, name: str = "", version: str | int = "") -> list[ModelStatistics]:
        """The statistics of one version, of all of a model's, or of every model. Raises InvalidArgumentError if there
        is none.
        """
        return [model.statistics() for model in self._table.chosen(name, str(version))]

    def trace_settings(self, model_name: str = "") -> dict[str, Any]:
        """What decides which requests are traced, as the protocol says it: of a model, or of all that have no settings
        of their own. Raises InvalidArgumentError for an unknown model.
        """
        self._demand_traceable(model_name)
        return self.tracing.settings(model_name).document()

    def change_trace_settings(
        self, wanted: Mapping[str, Sequence[str] | None], model_name: str = "", *, space: str = ""
    ) -> dict[str, Any]:
        """Change what is named, each with a list of texts, or None: as if never set; and return all of them.

        Raises InvalidArgumentError and UnsupportedError, in the real server's words, for what cannot be so. `space`:
        what one of them has before the wrong number.
        """
        self._demand_traceable(model_name)
        return self.tracing.update(read_update(wanted, space), model_name).document()

    def _demand_traceable(self, model_name: str) -> None:
        if model_name and not self._table.offers(model_name):
            raise InvalidArgumentError(f"Request for unknown model : {model_name}")

    def in_flight(self) -> int:
        """How many requests are queued or executing."""
        return self._fleet.in_flight()

    # ---- stop

    def announce_stop(self) -> None:
        """Say that it is not ready any more, and serve on: what is in front of it can then send requests elsewhere."""
        self._stopping = True

    def drain(self, timeout: float) -> bool:
        """Take no new requests and wait until all taken are answered, at most `timeout` seconds; False when that was
        not enough.
        """
        self._stopping = True
        return self._fleet.drain(monotonic_ns() + int(timeout * NS_PER_SECOND))

    def stop(self, timeout: float | None = None) -> None:
        """Drain for at most `timeout` seconds (the option `exit_timeout_secs`, if None) and free every model.

        Requests still queued then are answered with UnavailableError. Calling it again does nothing.
        """
        with self._lock:
            if self._stopped or not self._started:
                return
            self._stopped = True
        seconds = self.options.exit_timeout_secs if timeout is None else timeout
        deadline_ns = monotonic_ns() + int(seconds * NS_PER_SECOND)
        if not self.drain(seconds):
            logger.error("Exit timeout expired. Exiting immediately: %d requests in flight", self.in_flight())
        try:
            self._fleet.stop(deadline_ns)
        finally:
            self.tracing.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
