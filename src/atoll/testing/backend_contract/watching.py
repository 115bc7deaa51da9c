"""A backend's models with somebody who looks on: what they are asked to do is noted, and may be held up."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from atoll.backends.api import BackendModel, Instance, ModelSource, Placement
from atoll.backends.registry import find_backend
from atoll.tensor import Array

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Execution:
    """One call of `execute`: on which instance, with what."""

    instance: object
    inputs: Mapping[str, Array]

    @property
    def batch_size(self) -> int:
        """The first dimension of the first input."""
        return int(next(iter(self.inputs.values())).shape[0])


class Watched:
    """Wraps what the backend of that name loads, for as long as the monkeypatch lasts."""

    def __init__(self, backend: str, monkeypatch: pytest.MonkeyPatch):
        self.executions: list[Execution] = []
        self.models: list[_Model] = []
        self._changed = threading.Condition()
        self._open = True
        self._inside = 0
        found: Any = find_backend(backend)
        load = found.load

        def watched(source: ModelSource) -> "_Model":
            model = _Model(load(source), self)
            self.models.append(model)
            return model

        monkeypatch.setattr(found, "load", watched)

    def hold(self) -> None:
        """From now on executions wait before they begin."""
        self._open = False

    def release(self) -> None:
        """Let all that wait go on, together."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def wait_inside(self, count: int) -> None:
        """Wait until so many executions are held up."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._inside >= count, WAIT_S), f"{self._inside} of {count} came"

    def wait_closed(self, timeout_s: float) -> None:
        """Wait until every model is closed: a server does that in the background."""
        with self._changed:
            assert self._changed.wait_for(lambda: all(one.closed for one in self.models), timeout_s), "not closed"

    def mistakes(self) -> list[str]:
        """What was closed not once, or was used when it was closed already."""
        instances = [one for model in self.models for one in model.instances]
        everything: list[_Model | _Instance] = [*self.models, *instances]
        return [f"{one.what} was closed {one.closed} times" for one in everything if one.closed != 1] + [
            f"{one.what}: {text}" for one in everything for text in one.wrong
        ]

    def enter(self, execution: Execution) -> None:
        """An execution begins."""
        copies = {name: array.copy() for name, array in execution.inputs.items()}  # they are the engine's
        with self._changed:
            self.executions.append(Execution(execution.instance, copies))
            self._inside += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open, WAIT_S)
            self._inside -= 1

    def tell(self) -> None:
        """Something was closed."""
        with self._changed:
            self._changed.notify_all()


class _Model:
    what = "the model"

    def __init__(self, model: BackendModel, watched: Watched):
        self._model = model
        self._watched = watched
        self.instances: list[_Instance] = []
        self.closed = 0
        self.wrong: list[str] = []

    def __getattr__(self, name: str) -> Any:  # such as `bounded`
        return getattr(self._model, name)

    def instance(self, placement: Placement) -> "_Instance":
        if self.closed:
            self.wrong.append("an instance was made of it after that")
        instance: Any = self._model.instance(placement)
        self.instances.append(_Instance(instance, placement.name, self._watched))
        return self.instances[-1]

    def close(self) -> None:
        if not all(one.closed for one in self.instances):
            self.wrong.append("it was closed before its instances")
        self.closed += 1
        self._model.close()
        self._watched.tell()


class _Instance:
    def __init__(self, instance: Instance, name: str, watched: Watched):
        self.what = f"instance {name}"
        self._instance = instance
        self._watched = watched
        self.closed = 0
        self.wrong: list[str] = []

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> Mapping[str, Array]:
        if self.closed:
            self.wrong.append("it executed after that")
        self._watched.enter(Execution(self, inputs))
        return self._instance.execute(inputs, output_names)

    def close(self) -> None:
        self.closed += 1
        self._instance.close()
