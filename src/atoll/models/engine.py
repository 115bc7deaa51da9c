"""The server as the models in it see it: what a model may ask, whichever way it asks."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from atoll.calls import decoupled_refusal
from atoll.errors import AtollError, ModelAsleepError, NotFoundError, OverloadedError, UnavailableError
from atoll.models.model import Model
from atoll.observability.metrics.custom import CustomMetrics
from atoll.request import InferenceRequest, InferenceResponse


class Models(Protocol):
    """The models of the server (fleet.py)."""

    custom_metrics: CustomMetrics

    def find(self, name: str, version: str) -> Model:
        """Raises NotFoundError, UnavailableError, ModelAsleepError."""

    def find_leaving(self, name: str, version: str) -> Model | None:
        """One that is not served any more, and still there for ensembles that have requests."""

    def load(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None: ...
    def unload(self, name: str, *, unload_dependents: bool = False) -> None: ...
    def wake(self, name: str, then: Callable[[AtollError | None], None]) -> None: ...


class ModelsEngine:
    """An Engine (backends/api.py)."""

    def __init__(self, models: Models):
        self._models = models

    @property
    def metrics(self) -> CustomMetrics:
        """See `Engine.metrics`."""
        return self._models.custom_metrics

    def find(self, name: str, version: str) -> Model:
        """The model that serves this name and version. Raises NotFoundError, UnavailableError, ModelAsleepError."""
        return self._models.find(name, version)

    def submit(self, request: InferenceRequest) -> None:
        """See `Engine.submit`. A model that is not in memory is loaded first."""
        try:
            self._submit(request)
        except ModelAsleepError:
            self._models.wake(request.model_name, partial(self._submit_awake, request))

    def submit_step(self, request: InferenceRequest) -> None:
        """The same for a step of an ensemble: it is run to its end although the step's model is being unloaded."""
        try:
            self.submit(request)
        except OverloadedError:
            raise
        except (NotFoundError, UnavailableError):
            model = self._models.find_leaving(request.model_name, request.model_version)
            if model is None:
                raise
            model.accept(request)

    def _submit(self, request: InferenceRequest) -> None:
        model = self._models.find(request.model_name, request.model_version)
        if model.decoupled and request.single_response:
            raise decoupled_refusal(model.name)
        model.accept(request)

    def _submit_awake(self, request: InferenceRequest, error: AtollError | None) -> None:
        if error is None:
            request.defer = None  # this is not its submitter's thread
            try:
                self._submit(request)
            except AtollError as refusal:
                _refuse(request, refusal.with_traceback(None))
        else:  # not raised: its traceback would hold the request
            _refuse(request, error)

    def load_model(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """See `Engine.load_model`."""
        self._models.load(name, config=config, files=files)

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        """See `Engine.unload_model`."""
        self._models.unload(name, unload_dependents=unload_dependents)

    def model_ready(self, name: str, version: str = "") -> bool:
        """See `Engine.model_ready`."""
        try:
            model = self._models.find(name, version)
        except ModelAsleepError:
            return True  # whoever asks it gets an answer
        except (NotFoundError, UnavailableError):
            return False
        return model.ready and model.available


def _refuse(request: InferenceRequest, error: AtollError) -> None:
    request.sender.send(InferenceResponse("", "", request.id, error=error), True)
