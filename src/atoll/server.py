"""The server as a library: start, infer, ask about models, stop. No frontend, event loop or network is needed.

with atoll.Server("examples/models") as server:
    response = server.infer("simple", {"INPUT0": a, "INPUT1": b})
    response["OUTPUT0"]
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as distribution_version
from pathlib import Path
from time import monotonic_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from atoll.config.metadata import ModelMetadata, ServerMetadata
from atoll.errors import AtollError, ConfigError, InternalError, InvalidArgumentError, UnavailableError
from atoll.models.loader import Loader
from atoll.models.model import Model
from atoll.models.table import ModelTable
from atoll.observability.statistics import ModelStatistics
from atoll.options import ServerOptions
from atoll.repositories.local import ModelFolder, find_models
from atoll.request import InferenceRequest, InferenceResponse, Parameter, run_at_once
from atoll.tensor import Array, DataType, Tensor

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

logger = logging.getLogger(__name__)

EXTENSIONS = ("model_repository", "model_configuration", "binary_tensor_data", "parameters", "statistics")
NS_PER_SECOND = 1_000_000_000

Inputs = Mapping[str, "Array | Sequence[Any] | Tensor"]


class Server:
    """An inference server in this process. Usable from any number of threads and event loops at once.

    `model_repository`: one or more paths of model repositories in Triton's layout, or of bare model files. The other
    options are those of `ServerOptions`; each is documented in `atoll.options`.
    """

    def __init__(self, model_repository: str | Path | Sequence[str | Path] = (), **options: Any):
        paths = [model_repository] if isinstance(model_repository, (str, Path)) else list(model_repository)
        self.options = ServerOptions(model_repository=tuple(str(path) for path in paths), **options)
        self._table = ModelTable()
        self._lock = threading.Lock()
        self._started = False
        self._stopping = False  # says that it is not ready
        self._stopped = False

    # ---- start

    def start(self) -> Self:
        """Load every model of the repositories, several at once; returns when all are ready.

        Raises ConfigError naming every model that failed and why, with nothing left running, unless `exit_on_error`
        is off: then the others are served. NotFoundError for a repository that does not exist.
        """
        with self._lock:
            if self._started:
                raise InvalidArgumentError("the server was started already; a stopped server cannot start again")
            self._started = True
        folders = find_models(self.options.model_repository)
        loader = Loader(self.options)
        with ThreadPoolExecutor(self.options.model_load_thread_count, thread_name_prefix="load") as executor:
            list(executor.map(lambda folder: self._load(loader, folder), folders.values()))
        failures = self._table.failures()
        if failures and self.options.exit_on_error:
            self.stop()
            raise ConfigError(
                "failed to load all models:\n"
                + "\n".join(f"{name}: {error}" for name, error in failures.items())
                + "\n(with exit_on_error off the other models are served)"
            )
        return self

    def _load(self, loader: Loader, folder: ModelFolder) -> None:
        try:
            self._table.add(loader.load(folder))
        except AtollError as error:
            logger.error("failed to load '%s': %s", folder.name, error)
            self._table.fail(folder.name, error)
        except Exception as error:
            logger.exception("failed to load '%s'", folder.name)
            self._table.fail(folder.name, InternalError(f"{type(error).__name__}: {error}"))

    def __enter__(self) -> Self:
        return self.start()

    # ---- run

    def submit(self, request: InferenceRequest) -> None:
        """Hand over a request; its sender gets the answer, from any thread.

        Raises AtollError when the request is refused at the door: unknown model, not ready, inputs that do not fit. Its
        sender then hears nothing. After a normal return the sender gets exactly one final response.
        """
        self._table.find(request.model_name, request.model_version).submit(request)

    def infer(
        self,
        model_name: str,
        inputs: Inputs,
        *,
        outputs: Sequence[str] = (),
        model_version: str | int = "",
        request_id: str = "",
        parameters: dict[str, Parameter] | None = None,
        timeout: float | None = None,
    ) -> InferenceResponse:
        """Run one inference and wait for its answer.

        `inputs`: arrays whose shapes include the batch dimension, where the model has one (BYTES: arrays of str or
        bytes), by name. `outputs`: the names wanted, all if empty. `timeout`: seconds to wait; the request is then
        cancelled and UnavailableError raised. Raises the AtollError with which the request was refused or failed.
        """
        reply = _ThreadReply()
        request = self._request(model_name, inputs, reply, outputs, model_version, request_id, parameters)
        request.defer = run_at_once
        self.submit(request)
        if not reply.wait(timeout):
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
    ) -> InferenceResponse:
        """As `infer`, from a coroutine. Cancelling the coroutine cancels the request."""
        from asyncio import CancelledError, get_running_loop

        loop = get_running_loop()
        reply = _LoopReply(loop)
        request = self._request(model_name, inputs, reply, outputs, model_version, request_id, parameters)
        request.defer = loop.call_soon
        self.submit(request)
        try:
            return await reply.future
        except CancelledError:
            request.cancel()
            raise

    def _request(
        self,
        model_name: str,
        inputs: Inputs,
        reply: "_ThreadReply | _LoopReply",
        outputs: Sequence[str],
        model_version: str | int,
        request_id: str,
        parameters: dict[str, Parameter] | None,
    ) -> InferenceRequest:
        version = str(model_version)
        specs = self._table.find(model_name, version).input_specs
        tensors = {}
        for name, value in inputs.items():
            spec = specs.get(name)
            tensors[name] = _tensor(name, value, spec.datatype if spec is not None else None)
        return InferenceRequest(
            model_name,
            tensors,
            reply,
            model_version=version,
            id=request_id,
            output_names=tuple(outputs),
            parameters=parameters,
        )

    # ---- what it says of itself

    def live(self) -> bool:
        """Whether the server answers at all."""
        return self._started and not self._stopped

    def ready(self) -> bool:
        """Whether requests should be sent here: it is not stopping and, with `strict_readiness`, no model failed."""
        if not self.live() or self._stopping:
            return False
        return not self.options.strict_readiness or not self._table.failures()

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
        """The models that could not be loaded, and why."""
        return self._table.failures()

    def model_ready(self, name: str, version: str | int = "") -> bool:
        """Whether this version takes requests. Raises NotFoundError for one that does not exist."""
        try:
            return self._table.find(name, str(version)).ready
        except UnavailableError:
            return False

    def model_metadata(self, name: str, version: str | int = "") -> ModelMetadata:
        """A model's metadata: with no version, of the highest one, listing all that are ready. Raises NotFoundError."""
        model = self._table.find(name, str(version))
        if version:
            return model.metadata((model.version,))
        ready = sorted((one for one in self._table.versions(name).values() if one.ready), key=lambda m: int(m.version))
        return model.metadata(tuple(one.version for one in ready))

    def statistics(self, name: str = "", version: str | int = "") -> list[ModelStatistics]:
        """The statistics of one version, of all of a model's, or of every model. Raises InvalidArgumentError if there
        is none.
        """
        version = str(version)
        chosen = [
            model
            for model in self._table.models()
            if (not name or model.name == name) and (not version or model.version == version)
        ]
        if name and not chosen:
            if version and self._table.versions(name):
                raise InvalidArgumentError(f"requested model version is not available for model '{name}'")
            raise InvalidArgumentError(f"requested model '{name}' is not available")
        return [model.statistics() for model in chosen]

    def in_flight(self) -> int:
        """How many requests are queued or executing."""
        return sum(model.in_flight() for model in self._table.models())

    # ---- stop

    def announce_stop(self) -> None:
        """Say that it is not ready any more, and serve on: what is in front of it can then send requests elsewhere."""
        self._stopping = True

    def drain(self, timeout: float) -> bool:
        """Take no new requests and wait until all taken are answered, at most `timeout` seconds; False when that was
        not enough.
        """
        self._stopping = True
        deadline_ns = monotonic_ns() + int(timeout * NS_PER_SECOND)
        models = [model for model in self._table.models() if model.ready]
        for model in models:
            model.refuse()
        return all([model.drain(deadline_ns) for model in models])

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
        for model in self._table.models():
            if not model.unload(deadline_ns):
                logger.error("model '%s' is still executing and could not be freed", model.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _tensor(name: str, value: "Array | Sequence[Any] | Tensor", datatype: DataType | None) -> Tensor:
    """What a Python caller gave for an input: a bare sequence takes the model's type, uint16 may be BF16."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray):
        value = np.asarray(value, dtype=None if datatype is None else datatype.dtype)
    if datatype is DataType.BF16 and value.dtype == np.uint16:
        return Tensor(name, datatype, value.shape, array=value)
    return Tensor.from_numpy(name, value)


class _ThreadReply:
    """Where a thread waits for one answer. A bare lock: an Event would cost more than a small inference."""

    __slots__ = ("_answered", "_response")

    def __init__(self) -> None:
        self._answered = threading.Lock()
        self._answered.acquire()
        self._response: InferenceResponse | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self._response = response
        if final:
            self._answered.release()

    def wait(self, timeout: float | None) -> bool:
        return self._answered.acquire(timeout=-1 if timeout is None else timeout)

    def result(self) -> InferenceResponse:
        return _one_response(self._response)


class _LoopReply:
    """A future of an event loop, for one answer from any thread."""

    __slots__ = ("_loop", "_response", "_thread_id", "future")

    def __init__(self, loop: "AbstractEventLoop"):
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._response: InferenceResponse | None = None
        self.future: Future[InferenceResponse] = loop.create_future()

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self._response = response
        if not final:
            return
        if threading.get_ident() == self._thread_id:
            self._settle()
            return
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            logger.debug("an answer found its event loop closed")

    def _settle(self) -> None:
        if self.future.done():
            return
        try:
            self.future.set_result(_one_response(self._response))
        except AtollError as error:
            self.future.set_exception(error)


def _one_response(response: InferenceResponse | None) -> InferenceResponse:
    if response is None:
        raise InternalError("the model ended the request without a response")
    if response.error is not None:
        raise response.error
    return response
