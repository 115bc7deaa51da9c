"""All endpoints of one event loop, whatever brings the requests: our own connections or an ASGI server."""

from typing import TYPE_CHECKING

from atoll.frontends.apis import Api
from atoll.frontends.context import FrontendContext
from atoll.frontends.dashboard.endpoints import DashboardEndpoints
from atoll.frontends.http.endpoints.documents import routes
from atoll.frontends.http.endpoints.generate import GenerateEndpoints
from atoll.frontends.http.endpoints.inference import InferEndpoint
from atoll.frontends.http.endpoints.log_settings import routes as log_routes
from atoll.frontends.http.endpoints.readiness import ReadinessEndpoint
from atoll.frontends.http.endpoints.repository import RepositoryEndpoints
from atoll.frontends.http.endpoints.shared_memory import SharedMemoryEndpoints
from atoll.frontends.http.endpoints.tracing import TraceEndpoints
from atoll.frontends.http.routes import RouteTable
from atoll.frontends.http.waking import SleepyModels
from atoll.frontends.openapi.endpoints import DocumentationEndpoints

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from atoll.server import Server


class HttpService:
    """To be made on the loop's thread. `close` when the server begins to stop."""

    def __init__(
        self, server: "Server", loop: "AbstractEventLoop", max_body_size: int, context: FrontendContext | None = None
    ):
        self.context = context or FrontendContext(server)
        sleepy = SleepyModels(server, loop)
        self._repository = RepositoryEndpoints(server, loop)
        self._readiness = ReadinessEndpoint(server, loop)
        self._shared_memory = SharedMemoryEndpoints(self.context.regions, loop)
        regions = self.context.regions
        logged = self.context.access_log is not None
        access = self.context.access
        regions_keyed = access is not None and access.asks_for_key(Api.SHARED_MEMORY)
        infer = InferEndpoint(server, loop, max_body_size, sleepy, logged, regions, regions_keyed)
        table = [
            *routes(server, infer, self._readiness, sleepy),
            *GenerateEndpoints(server, loop, sleepy, logged).routes(),
            *self._repository.routes(),
            *self._shared_memory.routes(),
            *TraceEndpoints(server).routes(),
            *log_routes(),
        ]
        self._dashboard: DashboardEndpoints | None = None
        if self.context.dashboard is not None:
            self._dashboard = DashboardEndpoints(server, loop, self.context.dashboard, access)
            table += self._dashboard.routes()
        if self.context.docs:
            table += DocumentationEndpoints(server, self.context, table).routes()
        self.routes = RouteTable(table, None if access is None else access.http, self.context.http_headers)

    def close(self) -> None:
        """Load and unload nothing more; what has begun goes on."""
        self._repository.close()
        self._readiness.close()
        self._shared_memory.close()
        if self._dashboard is not None:
            self._dashboard.close()
