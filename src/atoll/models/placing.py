"""Where a model's instances run: in this process, or each in one of its own."""

import logging
from collections.abc import Mapping
from typing import Any, cast

from atoll.backends.api import Backend, BackendModel, ChildRecipe, Engine, IsolatedBackend, ModelSource
from atoll.backends.loading import load_model
from atoll.isolation.hosted_backend import recipe
from atoll.isolation.model import IsolatedModel, ask_child
from atoll.isolation.processes import Processes
from atoll.isolation.settings import is_isolated, read_isolation_settings, without_effect

logger = logging.getLogger(__name__)


class Placing:
    """Loads models under one server. Thread-safe."""

    def __init__(self, processes: Processes, engine: Engine):
        self._processes = processes
        self._engine = engine

    def load(self, backend: Backend, source: ModelSource, instance_count: int) -> BackendModel:
        """The model, where its configuration wants it. Raises ConfigError, and what the backend raises."""
        if not is_isolated(source.config, backend.capabilities.isolated):
            for key in without_effect(source.config, backend.capabilities.isolated):
                logger.warning(
                    "parameter '%s' of model '%s' has no effect: the model runs in the server, not in a process of its "
                    "own",
                    key,
                    source.name,
                )
            return load_model(backend, source)
        settings = read_isolation_settings(source)
        if hasattr(backend, "child"):
            made = cast("IsolatedBackend", backend).child(source)
        else:
            made = recipe(source, backend)
        return IsolatedModel(
            source,
            made,
            settings,
            self._processes,
            self._engine,
            takes_requests=backend.capabilities.requests,
            instance_count=instance_count,
        )

    def run_child(self, source: ModelSource, made: ChildRecipe) -> Mapping[str, Any]:
        """What a process of the model's says of it when it is asked; see `ModelSource.run_child`."""
        return ask_child(source, made, read_isolation_settings(source), self._processes, self._engine)
