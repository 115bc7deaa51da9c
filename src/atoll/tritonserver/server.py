"""The server of the in-process API: its day, its models and its repositories."""

import logging
import threading
from collections.abc import Iterable
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from atoll.errors import (
    AtollError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from atoll.frontends.metrics.page import MetricsPage
from atoll.models.lifecycle import ModelState
from atoll.observability.logging.server_log import ServerLog
from atoll.protocol import documents
from atoll.protocol.repository import CONFIG, FILE
from atoll.server import Server as Engine
from atoll.tritonserver.enums import MetricFormat, ModelControlMode
from atoll.tritonserver.logs import close_log, open_log
from atoll.tritonserver.metrics import PROCESS_METRICS
from atoll.tritonserver.model import Model
from atoll.tritonserver.options import Options, engine_options, ignored, metrics_settings
from atoll.tritonserver.unpicklable import Unpicklable

logger = logging.getLogger(__name__)

_NOT_STARTED = "Server not started"


class ModelDictionary(dict[tuple[str, int], Model]):
    """Models by name and version; a name alone stands for its version -1, or for the only one there is."""

    def __init__(self, models: Iterable[Model]):
        super().__init__({(one.name, one.version): one for one in models})

    def __getitem__(self, key: "tuple[str, int] | str") -> Model:
        try:
            return super().__getitem__(self._full(key))
        except KeyError:
            raise KeyError(f"Unknown Model: {key}") from None

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self._full(key) if isinstance(key, (str, tuple)) else key)

    def _full(self, key: Any) -> tuple[str, int]:
        if not isinstance(key, str):
            found: tuple[str, int] = key
            return found
        versions = [version for name, version in self if name == key]
        return key, versions[0] if len(versions) == 1 else -1


class Server(Unpicklable):
    """A server in this process. Thread-safe; may be started again after it was stopped.

    Takes `Options`, or their fields. `with Server(...) as server:` starts it, if nobody has, and stops it.
    """

    def __init__(self, options: Options | None = None, **kwargs: Any):
        if options is not None and kwargs:
            raise InvalidArgumentError(f"Server: give options, or their fields ({', '.join(kwargs)}), and not both")
        self.options = Options(**kwargs) if options is None else options
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._page: MetricsPage | None = None
        self._log: ServerLog | None = None
        self._by_context = False

    @property
    def engine(self) -> Engine:
        """The `atoll.Server` that does the work, for what this API has no name for. Raises InvalidArgumentError where
        it is not started.
        """
        engine = self._engine
        if engine is None:
            raise InvalidArgumentError(_NOT_STARTED)
        return engine

    # ---- start

    def start(
        self, wait_until_ready: bool = False, polling_interval: float = 0.1, timeout: float | None = None
    ) -> Self:
        """Load the models; returns when those are loaded that are loaded at the start.

        `wait_until_ready`: also look every `polling_interval` seconds, for at most `timeout`, until it is ready. Raises
        InternalError with everything that failed, UnavailableError when it was not ready in time or, in the mode NONE,
        will never be, InvalidArgumentError where it is started already.
        """
        with self._lock:
            if self._engine is not None and self._by_context:
                self._by_context = False  # `with` has started it already
            elif self._engine is not None:
                raise InvalidArgumentError("Server already started")
            else:
                self._start()
        deadline = None if timeout is None else monotonic() + timeout
        while wait_until_ready and not self.ready():
            failures = "; ".join(f"{name}: {error}" for name, error in self.engine.failures().items())
            if failures and self.options.model_control_mode is ModelControlMode.NONE:
                raise UnavailableError(f"the server is not ready, and will not be: {failures}")
            if deadline is not None and monotonic() >= deadline:
                raise UnavailableError(f"the server is not ready after {timeout} s: {failures or 'no model says why'}")
            sleep(polling_interval)
        return self

    def _start(self) -> None:
        options = self.options
        log = open_log(options)
        try:
            for name, reason in ignored(options).items():
                logger.warning("Options: %s has no effect: %s", name, reason)
            settings = metrics_settings(options)
            engine = _started(options)
        except BaseException:
            close_log(log)
            raise
        self._log = log
        if options.metrics:
            interval_s = options.metrics_interval / 1000
            self._page = MetricsPage(
                engine, cpu=options.cpu_metrics, gpu=options.gpu_metrics, interval_s=interval_s, settings=settings
            )
        self._engine = engine

    def __enter__(self) -> Self:
        with self._lock:
            if self._engine is None:
                self._start()
                self._by_context = True
        return self

    # ---- run

    def model(self, model_name: str, model_version: int = -1) -> Model:
        """A model, whether or not there is one of that name."""
        return Model(self, model_name, model_version)

    def models(self, exclude_not_ready: bool = False) -> ModelDictionary:
        """Every model of the repositories and every version that anybody tried to load."""
        return ModelDictionary(
            Model(self, one.name, int(one.version or -1), one.state or None, one.reason or None)
            for one in self.engine.repository_index(exclude_not_ready)
        )

    def load(self, model_name: str, parameters: dict[str, str | int | bool | bytes] | None = None) -> Model:
        """Load a model, or load it anew; in the mode EXPLICIT. Returns when it is served.

        `parameters`: "config", a configuration in JSON, and with it "file:1/model.onnx", ..., the model's files as
        bytes, in place of the repository's. Raises InternalError with everything that is wrong; what was served before
        is served on.
        """
        engine = self.engine
        config, files = _load_parameters(model_name, parameters or {})
        try:
            engine.load_model(model_name, config=config, files=files or None)
        except UnavailableError:
            raise
        except AtollError as error:
            raise InternalError(str(error)) from error
        return self.model(model_name)

    def unload(
        self,
        model: str | Model,
        unload_dependents: bool = False,
        wait_until_unloaded: bool = False,
        polling_interval: float = 0.5,
        timeout: float | None = None,
    ) -> None:
        """Take a model out of service; in the mode EXPLICIT. It answers what it has taken, and is freed after that.

        `wait_until_unloaded`: look every `polling_interval` seconds, for at most `timeout`, until that has happened.
        Raises UnavailableError when it had not in time.
        """
        name = model.name if isinstance(model, Model) else model
        self.engine.unload_model(name, unload_dependents=unload_dependents)
        deadline = None if timeout is None else monotonic() + timeout
        while wait_until_unloaded and self._is_loaded(name):
            if deadline is not None and monotonic() >= deadline:
                raise UnavailableError(f"model '{name}' is not unloaded after {timeout} s: it has requests to answer")
            sleep(polling_interval)

    def _is_loaded(self, name: str) -> bool:
        gone = (None, ModelState.UNAVAILABLE.value)
        return any(one.name == name and one.state not in gone for one in self.models().values())

    def register_model_repository(self, repository_path: str, name_mapping: dict[str, str] | None = None) -> None:
        """One more repository; in the mode EXPLICIT. Nothing is loaded from it yet. `name_mapping`: from folders' names
        to models'. Raises AlreadyExistsError, InvalidArgumentError for one that does not exist, UnsupportedError.
        """
        try:
            self.engine.register_model_repository(repository_path, name_mapping)
        except NotFoundError as error:
            raise InvalidArgumentError(str(error)) from error

    def unregister_model_repository(self, repository_path: str) -> None:
        """Load nothing more from it; in the mode EXPLICIT. Its models are served on.

        Raises InvalidArgumentError for one that is not there, UnsupportedError.
        """
        try:
            self.engine.unregister_model_repository(repository_path)
        except NotFoundError as error:
            raise InvalidArgumentError(str(error)) from error

    def poll_model_repository(self) -> None:
        """Load and unload what has changed in the repositories; in the mode POLL, where nobody else looks at them.
        Raises UnavailableError in another mode.
        """
        self.engine.poll_model_repository()

    # ---- what it says of itself

    def live(self) -> bool:
        """Whether it answers at all."""
        return self.engine.live()

    def ready(self) -> bool:
        """Whether it takes requests and, with `strict_readiness`, every model is ready."""
        return self.engine.ready()

    def metadata(self) -> dict[str, Any]:
        """Its name, version and extensions of the protocol."""
        return documents.server_metadata(self.engine.metadata())

    def metrics(self, metric_format: MetricFormat = MetricFormat.PROMETHEUS) -> str:
        """The metrics of the server, its models and the process. Raises UnsupportedError with `metrics` off."""
        engine, page = self.engine, self._page
        if page is None:
            raise UnsupportedError(f"server '{engine.options.id}' was made with metrics=False")
        if metric_format is not MetricFormat.PROMETHEUS:
            raise InvalidArgumentError(f"metric_format is {metric_format!r}, and must be MetricFormat.PROMETHEUS")
        return page.text()

    # ---- stop

    def stop(self) -> None:
        """Answer what has been taken, for at most `exit_timeout` seconds, and free every model and thread. Raises
        InvalidArgumentError where it is not started.
        """
        with self._lock:
            engine = self.engine
            log = self._log
            self._engine = self._page = self._log = None
            self._by_context = False
        try:
            engine.stop()
        finally:
            close_log(log)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            self.stop()


def _started(options: Options) -> Engine:
    try:
        return Engine(**engine_options(options), custom_metrics=PROCESS_METRICS).start()
    except (UnavailableError, UnsupportedError):
        raise
    except AtollError as error:
        raise InternalError(str(error)) from error


def _load_parameters(model_name: str, parameters: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    config, files = "", {}
    for name, value in parameters.items():
        if name == CONFIG and isinstance(value, str):
            config = value
        elif name.startswith(FILE) and isinstance(value, (bytes, bytearray, memoryview)):
            files[name.removeprefix(FILE)] = bytes(value)
        else:
            raise InternalError(
                f"failed to load '{model_name}', failed to poll from model repository: the load parameter '{name}' of "
                f"the type {type(value).__name__} is unknown; there are 'config', a text, and 'file:<path>', bytes"
            )
    return config, files
