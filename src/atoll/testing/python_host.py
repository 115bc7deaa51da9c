"""What a model under test has round it in the place of a server: other models, a log, metrics."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from atoll.backends.python.call_errors import refusal_text
from atoll.backends.python.failure import failure_text
from atoll.backends.python.utils import InferenceRequest, InferenceResponse, TritonError
from atoll.calls import decoupled_refusal
from atoll.errors import AtollError, NotFoundError, UnavailableError
from atoll.model_log import log_level
from atoll.observability.metrics.custom import CustomMetrics
from atoll.tensor import Array, Tensor
from atoll.testing.python_answers import Mailbox

if TYPE_CHECKING:
    from atoll.backends.python.host import Receive

logger = logging.getLogger("atoll.testing")

Outputs = Mapping[str, Array]
Function = Callable[[Mapping[str, Array]], Outputs | Iterable[Outputs]]


@dataclass(frozen=True, slots=True)
class LogLine:
    """What the model has logged: `level` is "INFO", "WARNING", "ERROR" or "VERBOSE"; the place is in its code."""

    level: str
    message: str
    file: str
    line: int


class CalledModel(Protocol):
    """A model with a file of its own that the model under test may call."""

    @property
    def decoupled(self) -> bool:
        """Whether it answers a request any number of times."""

    def serve(self, request: InferenceRequest, mailbox: Mailbox) -> None:
        """Execute it; the responses go into the mailbox."""


class BenchHost:
    """A ModelHost (backends/python/host.py). Requests to other models run in threads, which `close` waits for."""

    def __init__(self, models: Mapping[str, Function | CalledModel]):
        self.lines: list[LogLine] = []
        self.metrics = CustomMetrics()
        self._models = dict(models)
        self._unloaded: set[str] = set()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    # ---- other models

    def infer(self, request: InferenceRequest, receive: "Receive") -> Mailbox:
        """See `ModelHost.infer`."""
        mailbox = Mailbox()

        def received(response: InferenceResponse | None, final: bool) -> None:
            receive(response, final)
            with self._changed:
                self._changed.notify_all()

        try:
            model = self._ready(request.model_name)
            if not callable(model) and model.decoupled and not request.decoupled:
                raise decoupled_refusal(request.model_name)
        except AtollError as error:
            received(InferenceResponse([], TritonError(refusal_text(request.model_name, error))), True)
            return mailbox
        self._threads = [one for one in self._threads if one.is_alive()]
        thread = threading.Thread(
            target=self._serve,
            args=(model, request, mailbox, received),
            name=f"model-{request.model_name}",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()
        return mailbox

    def _serve(
        self, model: Function | CalledModel, request: InferenceRequest, mailbox: Mailbox, receive: "Receive"
    ) -> None:
        try:
            if callable(model):
                given = model({one.name: one.array().copy() for one in request.tensors})
                for outputs in [given] if isinstance(given, Mapping) else given:
                    receive(_response(outputs, request.output_names), False)
            else:
                model.serve(request, mailbox)
                while (response := mailbox.next(float(threading.TIMEOUT_MAX))) is not None:
                    receive(_copied(response), False)
        except BaseException as error:
            text = f"{request.model_name}: {failure_text(error)}"
            receive(InferenceResponse([], TritonError(text)), False)
        receive(None, True)

    def wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """See `ModelHost.wait`."""
        deadline = None if timeout is None else monotonic() + timeout
        with self._changed:
            while not done():
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _ready(self, name: str) -> Function | CalledModel:
        model = self._known(name)
        if name in self._unloaded:
            raise UnavailableError(f"Request for unknown model: '{name}' is not found")
        return model

    def _known(self, name: str) -> Function | CalledModel:
        try:
            return self._models[name]
        except KeyError:
            raise NotFoundError(f"Request for unknown model: '{name}' is not found") from None

    def load_model(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """See `ModelHost.load_model`: of the models that the test gives."""
        self._known(name)
        self._unloaded.discard(name)

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        """See `ModelHost.unload_model`."""
        self._known(name)
        self._unloaded.add(name)

    def is_model_ready(self, name: str, version: str = "") -> bool:
        """See `ModelHost.is_model_ready`."""
        return name in self._models and name not in self._unloaded

    # ---- log and metrics

    def log(self, level: str, message: str, file: str, line: int) -> None:
        """See `ModelHost.log`; the line goes to Python's logging, too, under "atoll.testing"."""
        self.lines.append(LogLine(level, message, file, line))
        number = log_level(level)
        if logger.isEnabledFor(number):
            logger.handle(logger.makeRecord(logger.name, number, file, line, "%s", (message,), None))

    def create_metric_family(self, name: str, description: str, kind: str) -> int:
        """See `ModelHost.create_metric_family`."""
        return self.metrics.create_family(self, name, description, kind)

    def create_metric(self, family: int, labels: Mapping[str, str], buckets: Sequence[float] = ()) -> int:
        """See `ModelHost.create_metric`."""
        return self.metrics.create_metric(self, family, labels, buckets)

    def change_metric(self, metric: int, operation: str, value: float) -> None:
        """See `ModelHost.change_metric`."""
        self.metrics.change(metric, operation, value)

    def metric_value(self, metric: int) -> float:
        """See `ModelHost.metric_value`."""
        return self.metrics.value(metric)

    def drop_metric(self, metric: int) -> None:
        """See `ModelHost.drop_metric`."""
        self.metrics.drop_metric(metric)

    def drop_metric_family(self, family: int) -> None:
        """See `ModelHost.drop_metric_family`."""
        self.metrics.drop_family(family)

    def close(self, timeout_s: float) -> None:
        """Wait for the requests to other models."""
        deadline = monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))


def _response(outputs: Outputs, names: Sequence[str]) -> InferenceResponse:
    tensors = [Tensor.from_numpy(name, array) for name, array in outputs.items() if not names or name in names]
    return InferenceResponse.received(tensors)


def _copied(response: InferenceResponse) -> InferenceResponse:
    """As it arrives where it was asked for: with memory of its own."""
    if response.error_or_none is not None:
        return InferenceResponse([], response.error_or_none)
    tensors = [Tensor(one.name, one.datatype, one.shape, array=one.array().copy()) for one in response.tensors]
    return InferenceResponse.received(tensors, dict(response.parameter_values))
