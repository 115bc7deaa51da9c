"""The functions that a server serves, as a repository: it is in memory, and changes when the program says so."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.config.json_form import from_json
from atoll.config.model_config import ModelConfig
from atoll.config.overlay import overlay
from atoll.config.problems import config_error, errors_of
from atoll.config.validate import validate_config
from atoll.errors import InvalidArgumentError, NotFoundError
from atoll.models.function_model import Function, FunctionBackend
from atoll.models.function_tensors import function_config, read_batching, read_instances, read_tensors
from atoll.models.unserved import find_unserved
from atoll.repositories.names import why_impossible
from atoll.repositories.repository import ModelFolder

_SAID = frozenset(
    {"name", "platform", "backend", "runtime", "max_batch_size", "input", "output", "default_model_filename"}
)


@dataclass(frozen=True, slots=True, eq=False)
class FunctionModel:
    """A function, and all that is said of it."""

    config: ModelConfig
    backend: FunctionBackend


def function_model(
    name: str,
    function: Function,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    batching: Any,
    instances: Any,
    config: Mapping[str, Any] | None,
) -> FunctionModel:
    """What `Server.add_model` was given, with everything checked that can be without a server. Raises
    InvalidArgumentError."""
    impossible = why_impossible(name) if isinstance(name, str) else "a model's name must be a text"
    if impossible:
        raise InvalidArgumentError(f"add_model: {impossible}")
    where = f"add_model('{name}')"
    try:
        takes, returns = read_tensors("inputs", inputs), read_tensors("outputs", outputs)
        if not returns:
            raise InvalidArgumentError("outputs: there must be one at least")
        batches = read_batching(batching)
        if batches.max_batch_size and all(one.optional for one in takes):
            raise InvalidArgumentError(
                "batching: there must be an input that is not optional, which tells the batch size"
            )
        complete = function_config(name, takes, returns, batches, read_instances(instances))
        backend = FunctionBackend(function, takes, returns, batched=batches.max_batch_size > 0)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from None
    if config is not None:
        complete = overlay(complete, _further(config, where))
    problems = errors_of([*validate_config(complete, name), *find_unserved(complete)])
    if problems:
        raise config_error(problems, where)
    return FunctionModel(complete, backend)


def _further(config: Mapping[str, Any], where: str) -> ModelConfig:
    said = sorted(_SAID.intersection(config))
    if said:
        raise InvalidArgumentError(f"{where}: config says {', '.join(said)}, which the other arguments say")
    return from_json(dict(config))


class FunctionRepository:
    """A Repository of functions. Each has the version 1."""

    location = "functions"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._added = 0
        self._models: dict[str, tuple[FunctionModel, str]] = {}

    # ---- change

    def put(self, model: FunctionModel) -> FunctionModel | None:
        """From now on the model of this name is that one; returns the one before."""
        with self._lock:
            self._added += 1
            before = self._models.get(model.config.name)
            self._models[model.config.name] = model, str(self._added)
            return None if before is None else before[0]

    def take_back(self, model: FunctionModel, before: FunctionModel | None) -> None:
        """It could not be loaded: the one before is what the name stands for again, unless it was changed since."""
        name = model.config.name
        with self._lock:
            now = self._models.get(name)
            if now is None or now[0] is not model:
                return
            if before is None:
                del self._models[name]
            else:
                self._added += 1
                self._models[name] = before, str(self._added)

    def remove(self, name: str) -> None:
        """Raises NotFoundError where it has none of that name."""
        with self._lock:
            if self._models.pop(name, None) is None:
                raise _unknown(name)

    # ---- what a repository offers

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._models)

    def files(self, name: str) -> dict[str, str]:
        return {"1/function": self._find(name)[1]}

    def folder(self, name: str) -> ModelFolder:
        model, _ = self._find(name)
        place = Path(f"<{model.backend.label}>")
        return ModelFolder(name, place, {1: place}, self.location, config=model.config, backend=model.backend)

    def release(self, folder: ModelFolder) -> None:
        pass

    def close(self) -> None:
        pass

    def server_config(self) -> Path | None:
        return None

    def _find(self, name: str) -> tuple[FunctionModel, str]:
        with self._lock:
            found = self._models.get(name)
        if found is None:
            raise _unknown(name)
        return found


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"model '{name}' is no function that was added")
