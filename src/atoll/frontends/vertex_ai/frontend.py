"""The Vertex AI frontend of a server process."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from atoll.errors import AtollError, InvalidArgumentError
from atoll.frontends.context import FrontendContext
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.listening import HttpListening
from atoll.frontends.http.routes import Endpoint
from atoll.frontends.http.service import HttpService
from atoll.frontends.listening.address import beside
from atoll.frontends.listening.options import ListenOptions
from atoll.frontends.metrics.frontend import MetricsFrontend, MetricsOptions, MetricsService
from atoll.frontends.vertex_ai.endpoints import VertexAiEndpoints
from atoll.frontends.vertex_ai.environment import AipRoutes, aip_routes

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from atoll.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexAiOptions(ListenOptions):
    """Where to listen, what a client may cost, which model is meant, and the paths. `metrics`: None is off."""

    port: int = 8080
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    model: str = ""
    routes: AipRoutes
    metrics: MetricsOptions | None = None

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name, and the environment. Raises InvalidArgumentError."""
        return cls(
            host=beside(values["http_address"]),
            port=values["vertex_ai_port"],
            loops=values["vertex_ai_thread_count"],
            limits=ConnectionLimits.from_values(values),
            model=values["vertex_ai_default_model"],
            routes=aip_routes(os.environ),
            metrics=MetricsOptions.from_values(values) if values["allow_metrics"] else None,
        )


class VertexAiFrontend(HttpListening):
    """Accepts connections on the event loop on which it is started."""

    def __init__(self, options: VertexAiOptions, context: FrontendContext):
        super().__init__(options, options.limits, self._service, "vertex-ai", context.access_log)
        self._context = context
        self._served = options
        self._model = options.model
        self._metrics: Endpoint | None = None
        if options.metrics is not None:
            self._metrics = MetricsFrontend(context.server, options.metrics, context).page

    async def start(self) -> None:
        """As `HttpListening.start`. Raises InvalidArgumentError where the model that is meant is not loaded, or cannot
        be told.
        """
        self._model = default_model(self._context.server, self._served.model)
        await super().start()

    def _service(self, loop: "AbstractEventLoop") -> VertexAiEndpoints:
        context, options = self._context, self._served
        http = HttpService(context.server, loop, options.limits.max_body_size, context)
        metrics = None if self._metrics is None else MetricsService(self._metrics, context.access).routes
        return VertexAiEndpoints(context.server, options.routes, self._model, http, metrics)


def default_model(server: "Server", name: str) -> str:
    """The model of requests that name none: the one that is given, or the only one. Raises InvalidArgumentError."""
    if not name:
        names = {model.name for model in server.models()}
        if len(names) != 1:
            raise InvalidArgumentError(
                "Expect the model repository contains only a single model if default model is not specified: "
                f"{len(names)} are loaded; name one with --vertex-ai-default-model"
            )
        return names.pop()
    try:
        ready = server.model_ready(name)
    except AtollError:
        ready = False
    if not ready:
        raise InvalidArgumentError(f"Expect the default model '{name}' is loaded")
    return name
