"""Any array backend in a child process, as it is: the same instance that runs batches in the server runs them there.

`recipe` is the server's part, `host` the child's. Unlike what Python models stand on, this needs the server's own
interpreter and packages: that is where the backend is installed.
"""

import logging
import os
import socket
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from atoll.backends.api import Backend, BackendModel, ChildRecipe, Instance, ModelSource, Placement
from atoll.config.json_form import from_json, to_json
from atoll.errors import AtollError, ConfigError, InternalError
from atoll.execution.batch import plan_batches
from atoll.execution.instance import ModelInstance
from atoll.isolation.service import Request, Service, serve
from atoll.isolation.wire import Facts, Packet, pack_failed
from atoll.observability.statistics import StatisticsRecorder
from atoll.request import QUEUED, InferenceRequest, InferenceResponse

logger = logging.getLogger(__name__)

HOST = f"{__name__}:host"

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
    return ChildRecipe(host=HOST, setup={"backend": reference, "path": path, "source": source_document(source)})


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


def host(setup: Mapping[str, Any], data: socket.socket, regions: socket.socket) -> None:
    """Load the model, make its one instance, and run batches until the server says that it is enough.

    Where that cannot begin, the server is told why, and SystemExit is raised.
    """
    sys.path += [one for one in setup["path"] if one not in sys.path]
    service = Service(data, regions, setup["memory"])
    try:
        hosted = HostedBackend(setup, service)
    except AtollError as error:
        data.sendall(pack_failed(str(error), code=error.code.name, config=isinstance(error, ConfigError)))
        raise SystemExit(1) from None
    serve(hosted, service)


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


class HostedBackend:
    """One instance of a model, as the child's main thread drives it. Raises what the backend raises."""

    asynchronous = False

    def __init__(self, setup: Mapping[str, Any], service: Service):
        self._service = service
        self._cancelled: set[int] = set()  # keys of requests that wait here
        source = source_of(setup["source"])
        placement = Placement(**setup["placement"])
        module, _, attribute = setup["backend"].partition(":")
        made: Any = import_module(module)
        for name in attribute.split("."):
            made = getattr(made, name)
        backend: Backend = made()
        self._model: BackendModel = backend.load(source)
        try:
            instance = cast(Instance, self._model.instance(placement))  # `recipe` refuses those that take requests
        except BaseException:
            self._model.close()
            raise
        self._plan = plan_batches(source.config)
        version = str(source.version)
        statistics = StatisticsRecorder(source.name, version)  # those that anybody sees are the server's
        self._instance = ModelInstance(placement.name, instance, self._plan, version, statistics)

    def facts(self) -> Facts:
        """The next batch may wait here while one is executed."""
        return {"concurrency": 1, "depth": 1}

    def execute(self, requests: list[Request]) -> None:
        """Run a batch: its answers are queued when this returns."""
        batch = [self._request(key, packet) for key, packet in requests]
        if self._cancelled:
            last = requests[-1][0]  # keys ascend: what is left below was answered before its client withdrew it
            self._cancelled = {key for key in self._cancelled if key > last}
        self._instance.run(batch, by_submitter=False)

    async def execute_async(self, requests: list[Request]) -> None:
        """No array backend is asynchronous."""
        raise InternalError("an array backend was run as an asynchronous model. This is a bug")

    def cancel(self, request: int) -> None:
        """It is not executed, if it has not been."""
        self._cancelled.add(request)

    def close(self) -> None:
        """Free the instance and the model."""
        for one in (self._instance, self._model):
            try:
                one.close()
            except Exception:
                logger.exception("closing %s failed", self._instance.name)

    def _request(self, key: int, packet: Packet) -> InferenceRequest:
        inputs = {tensor.name: tensor for tensor in packet.tensors}
        request = InferenceRequest(
            self._plan.model_name,
            inputs,
            _Answer(self._service, key),
            id=packet.id,
            output_names=tuple(packet.facts.get("outputs", ())),
        )
        if self._plan.batched:  # the server has seen that all inputs have the same first dimension
            request.batch_size = next((tensor.shape[0] for tensor in packet.tensors), 1)
        request.cancelled = key in self._cancelled
        request.move(QUEUED)
        return request


class _Answer:
    """Where the one response to a request goes: a ResponseSender."""

    __slots__ = ("_key", "_service")

    def __init__(self, service: Service, key: int):
        self._service = service
        self._key = key

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """The outputs, or the error in their place."""
        if response is None:
            self._service.finish(self._key)
        elif response.error is not None:
            self._service.fail(self._key, response.error, final)
        else:
            self._service.respond(self._key, response.outputs, final=final)
