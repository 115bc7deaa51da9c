"""Any array backend in a child process, as it is. `recipe` is the server's part, `HostedBackend` the child's.

The server joins batches and splits their outputs (array_instance.py): what comes here is one batch, as whole arrays.
Unlike what Python models stand on, this needs the server's own interpreter and packages: the backend is one of them.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from atoll.backends.api import Backend, BackendModel, ChildRecipe, Instance, ModelSource, Placement
from atoll.backends.loading import load_model
from atoll.config.json_form import from_json, to_json
from atoll.config.tensor_types import output_types
from atoll.errors import AtollError, ConfigError, InternalError
from atoll.isolation.environment import device_id_in_child
from atoll.isolation.service import Request, Service
from atoll.isolation.wire import Facts, Packet
from atoll.tensor import Array, Tensor

logger = logging.getLogger(__name__)

# ---- in the server


def recipe(source: ModelSource, backend: Backend) -> ChildRecipe:
    """How instances of this model get processes of their own. The backend's class is imported there under its name, and
    made without arguments.

    Raises ConfigError for a backend of which that cannot be.
    """
    made = type(backend)
    reference = f"{made.__module__}:{made.__qualname__}"
    if made.__module__ == "__main__" or "<" in made.__qualname__:
        raise ConfigError(
            f"model '{source.name}': backend '{backend.name}' cannot run in a process of its own, because {reference} "
            "cannot be imported there; put it into a module, or set the parameter 'isolation' to 'thread'"
        )
    if backend.capabilities.requests:
        raise ConfigError(
            f"model '{source.name}': backend '{backend.name}' takes requests and not arrays, and does not say how it "
            "runs in a process of its own; set the parameter 'isolation' to 'thread'"
        )
    path = [os.path.abspath(one) for one in sys.path]  # "" is the current folder
    return ChildRecipe(
        make=f"{__name__}:{HostedBackend.__name__}",
        setup={"backend": reference, "path": path, "source": source_document(source)},
    )


def source_document(source: ModelSource) -> dict[str, Any]:
    """A model's source as JSON can hold it, but for the engine, which stays in the server."""
    return {
        "name": source.name,
        "version": source.version,
        "model_directory": str(source.model_directory),
        "version_directory": str(source.version_directory),
        "config": to_json(source.config),
        "settings": dict(source.settings),
        "backend_directory": None if source.backend_directory is None else str(source.backend_directory),
    }


# ---- in the child


def source_of(document: Mapping[str, Any]) -> ModelSource:
    """What `source_document` was made of."""
    backend_directory = document["backend_directory"]
    return ModelSource(
        name=document["name"],
        version=document["version"],
        model_directory=Path(document["model_directory"]),
        version_directory=Path(document["version_directory"]),
        config=from_json(document["config"]),
        settings=document["settings"],
        backend_directory=None if backend_directory is None else Path(backend_directory),
    )


def made_backend(setup: Mapping[str, Any]) -> tuple[Backend, ModelSource]:
    """What `recipe` names: the backend, made, and the model's source."""
    sys.path += [one for one in setup["path"] if one not in sys.path]
    return _imported(setup["backend"])(), source_of(setup["source"])


class HostedBackend:
    """One instance of a model: a `Hosted` (service.py). The constructor raises what the backend raises."""

    asynchronous = False

    def __init__(self, setup: Mapping[str, Any], service: Service):
        self._service = service
        backend, source = made_backend(setup)
        placement = Placement(**setup["placement"])
        self._name = placement.name
        self._types = output_types(source.config)
        self._model: BackendModel = load_model(backend, source)
        here = Placement(placement.name, placement.kind, device_id_in_child((placement.kind, placement.device_id)))
        # `recipe` refuses backends whose instances take requests.
        self._instance = cast(Instance, self._model.instance(here))

    def facts(self) -> Facts:
        """Nothing that the server does not know."""
        return {}

    def execute(self, requests: list[Request]) -> None:
        """Each request is a batch of its own; the answers are queued when this returns."""
        for key, packet in requests:
            try:
                tensors = self._execute(packet)
            except AtollError as error:
                self._service.fail(key, error)
            except Exception as error:
                logger.exception("instance '%s' failed to execute a batch", self._name)
                self._service.fail(key, InternalError(f"{type(error).__name__}: {error}"))
            else:
                self._service.respond(key, tensors)

    async def execute_async(self, requests: list[Request]) -> None:
        """No array backend is asynchronous."""
        raise InternalError("an array backend was run as an asynchronous model. This is a bug")

    def cancel(self, request: int) -> None:
        """Too late: a batch that has come is executed."""

    def close(self) -> None:
        """Free the instance and the model."""
        for one in (self._instance, self._model):
            try:
                one.close()
            except Exception:
                logger.exception("closing instance '%s' failed", self._name)

    def _execute(self, packet: Packet) -> list[Tensor]:
        wanted = packet.facts.get("outputs") or list(self._types)
        outputs = self._instance.execute({one.name: one.array() for one in packet.tensors}, wanted)
        return [self._tensor(name, outputs[name]) for name in wanted if name in outputs]

    def _tensor(self, name: str, array: Array) -> Tensor:
        """Of the array's own type where that is not the configuration's: the server says so then."""
        declared = self._types.get(name)
        if declared is None or array.dtype != declared.dtype:
            try:
                return Tensor.from_numpy(name, array)
            except AtollError as error:
                raise InternalError(f"output '{name}': {error}") from None  # not the request's fault
        return Tensor(name, declared, array.shape, array=array)


def _imported(reference: str) -> Callable[[], Backend]:
    module, _, attribute = reference.partition(":")
    found: Any = import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    return cast(Callable[[], Backend], found)
