"""What models ask of the server: who gets it, and on whose thread it is run."""

import gc
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from atoll.errors import AtollError, ModelAsleepError, NotFoundError, OverloadedError, UnavailableError
from atoll.models.engine import ModelsEngine
from atoll.request import InferenceRequest, InferenceResponse


class Model:
    name = "m"
    decoupled = False

    def __init__(self) -> None:
        self.accepted: list[InferenceRequest] = []
        self.refusal: AtollError | None = None

    def accept(self, request: InferenceRequest) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.accepted.append(request)


class Models:
    """One that is asleep, served or gone, and one that is leaving."""

    custom_metrics: Any = None

    def __init__(self) -> None:
        self.model, self.leaving = Model(), Model()
        self.missing: AtollError | None = None
        self.woken: list[Callable[[AtollError | None], None]] = []

    def find(self, name: str, version: str) -> Any:
        if self.missing is not None:
            raise self.missing
        return self.model

    def find_leaving(self, name: str, version: str) -> Any:
        return self.leaving

    def load(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None: ...
    def unload(self, name: str, *, unload_dependents: bool = False) -> None: ...

    def wake(self, name: str, then: Callable[[AtollError | None], None]) -> None:
        self.woken.append(then)


class Sender:
    def __init__(self) -> None:
        self.errors: list[AtollError | None] = []

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        assert final
        self.errors.append(response.error if response is not None else None)


def test_a_request_that_waited_for_its_model_has_no_submitters_thread_any_more() -> None:
    models = Models()
    calls: list[Callable[[], None]] = []
    models.missing = ModelAsleepError("it sleeps")
    request = InferenceRequest("m", {}, Sender(), defer=calls.append)  # an event loop's, of the thread that asks
    ModelsEngine(models).submit(request)
    models.missing = None
    [then] = models.woken
    then(None)
    assert models.model.accepted == [request]
    assert request.defer is None
    assert not calls


def test_a_request_whose_model_cannot_be_loaded_is_told_so() -> None:
    models, sender = Models(), Sender()
    models.missing = ModelAsleepError("it sleeps")
    ModelsEngine(models).submit(InferenceRequest("m", {}, sender))
    models.woken[0](UnavailableError("it failed to load"))
    assert [str(one) for one in sender.errors] == ["it failed to load"]


@pytest.mark.parametrize("missing", [NotFoundError("gone"), UnavailableError("it is unloaded")])
def test_a_step_is_run_by_a_model_that_is_leaving(missing: AtollError) -> None:
    models = Models()
    models.missing = missing
    request = InferenceRequest("m", {}, Sender())
    ModelsEngine(models).submit_step(request)
    assert models.leaving.accepted == [request]


def test_a_step_that_is_one_too_many_is_refused_and_not_sent_to_another() -> None:
    models = Models()
    models.model.refusal = OverloadedError("too many")
    with pytest.raises(OverloadedError):
        ModelsEngine(models).submit_step(InferenceRequest("m", {}, Sender()))
    assert not models.leaving.accepted


@pytest.mark.parametrize("awake", [True, False])
def test_a_request_that_is_refused_late_is_in_no_circle(awake: bool) -> None:
    models, sender = Models(), Sender()
    models.missing = ModelAsleepError("it sleeps")
    ModelsEngine(models).submit(InferenceRequest("m", {}, sender))
    gc.collect()
    gc.disable()
    try:
        models.missing, models.model.refusal = None, OverloadedError("too many")
        models.woken.pop()(None if awake else UnavailableError("it failed to load"))
        assert len(sender.errors) == 1
        known = weakref.ref(sender)
        del sender, models
        assert known() is None
    finally:
        gc.enable()
