"""The models of a multi-model endpoint: loaded and unloaded one by one, each from a folder of its own."""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING

from atoll.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from atoll.frontends.sagemaker.archive import open_archive
from atoll.repositories.names import shown, why_impossible

if TYPE_CHECKING:
    from atoll.server import Server

logger = logging.getLogger(__name__)

LEAVING_S = 300.0  # after which SageMaker will not wait for the answer any more
_LOOK_S = 0.02


class NotLoadedError(NotFoundError):
    """SageMaker names a model that it has not loaded here."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """`name`: SageMaker's, a hash. `served`: what the server calls it. `url`: the folder that the server looks into.
    `steps`: of an ensemble, the models beside it.
    """

    name: str
    url: str
    served: str
    steps: tuple[str, ...] = ()


class EndpointModels:
    """For all event loops of the frontend. Thread-safe; `load` and `unload` block."""

    def __init__(self, server: "Server", leaving_s: float = LEAVING_S):
        self._server = server
        self._leaving_s = leaving_s
        self._lock = threading.Lock()
        self._models: dict[str, LoadedModel] = {}
        self._busy: set[str] = set()

    def get(self, name: str) -> LoadedModel | None:
        """The model that SageMaker calls so; None for one that is not loaded."""
        return self._models.get(name)

    def all(self) -> Sequence[LoadedModel]:
        """In the order in which they were loaded."""
        with self._lock:
            return list(self._models.values())

    def load(self, name: str, url: str, target: str) -> None:
        """Serve the model in this folder under the name `target`, or `name` where that is empty.

        Raises AlreadyExistsError where it is loaded, NotFoundError for a folder that is not there, and what loading it
        raises: then nothing of it is left.
        """
        self._occupy(name)
        try:
            archive = open_archive(url, os.environ)
            reason = why_impossible(name)
            if reason is not None:
                raise InvalidArgumentError(
                    f"failed to load '{shown(name)}', failed to poll from model repository: {reason}"
                )
            served = target or name
            there = {model.name for model in self._server.models()}
            self._server.register_model_repository(archive.repository, {archive.folder: served})
            try:
                before = self._models.get(name)
                if before is not None:
                    raise AlreadyExistsError(f"model '{name}' has already been loaded from '{before.url}'")
                self._server.load_model(served)
            except BaseException:
                # an ensemble that fails leaves the models of its steps, which were loaded before it
                for other in set(archive.others) - there:
                    self._server.unload_model(other)
                self._server.unregister_model_repository(archive.repository)
                raise
            with self._lock:
                self._models[name] = LoadedModel(name, archive.repository, served, archive.others)
        finally:
            self._busy.discard(name)

    def unload(self, name: str) -> None:
        """Serve it no more, and return when it is freed, or after `leaving_s` seconds: then it is as soon as it has
        answered what it had taken. Raises NotLoadedError for one that is not loaded.
        """
        self._occupy(name)
        try:
            model = self._models.get(name)
            if model is None:
                raise NotLoadedError(f"model '{name}' is not loaded")
            self._server.unload_model(model.served, unload_dependents=True)
            deadline = monotonic() + self._leaving_s
            while any(map(self._server.is_leaving, (model.served, *model.steps))):
                if monotonic() > deadline:
                    logger.warning("model '%s' still has requests to answer and is freed after that", name)
                    break
                sleep(_LOOK_S)
            self._server.unregister_model_repository(model.url)
            with self._lock:
                del self._models[name]
        finally:
            self._busy.discard(name)

    def _occupy(self, name: str) -> None:
        with self._lock:
            if name in self._busy:
                raise AlreadyExistsError(f"model '{name}' is being loaded or unloaded")
            self._busy.add(name)
