"""What requests come in through, as the options choose it: HTTP, gRPC, clouds' hosting services, metrics."""

import ipaddress
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from atoll.frontends.apis import Api
from atoll.frontends.context import FrontendContext
from atoll.frontends.grpc.frontend import GrpcFrontend, GrpcOptions
from atoll.frontends.http.frontend import HttpFrontend, HttpOptions
from atoll.frontends.listening.address import shown
from atoll.frontends.metrics.frontend import MetricsFrontend, MetricsOptions
from atoll.frontends.sagemaker.frontend import SageMakerFrontend, SageMakerOptions
from atoll.frontends.vertex_ai.frontend import VertexAiFrontend, VertexAiOptions

logger = logging.getLogger(__name__)

_PLACES = {
    "GRPCInferenceService": "--grpc-address, --grpc-port",
    "HTTPService": "--http-address, --http-port",
    "Sagemaker HTTPService": "--http-address, --sagemaker-port",
    "Vertex AI HTTPService": "--http-address, --vertex-ai-port",
    "Metrics Service": "--metrics-address, --metrics-port",
}
"""The options that say where each listens."""


class Frontend(Protocol):
    """What requests come in through."""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """What is listened on: hosts and ports, and `unix:/path` with port 0."""

    async def start(self) -> None:
        """Listen. Raises OSError naming the address."""

    async def drain(self, timeout_s: float) -> None:
        """Take no new connections, finish what is in flight, close."""

    async def stop(self) -> None:
        """Close everything at once."""


def chosen_frontends(context: FrontendContext, values: Mapping[str, Any]) -> dict[str, Frontend]:
    """Those that are on, under the names that the real server's log gives them. `values`: options by field name."""
    server = context.server
    chosen: dict[str, Frontend] = {}
    if values["allow_grpc"]:
        chosen["GRPCInferenceService"] = GrpcFrontend(server, GrpcOptions.from_values(values), context)
    if values["allow_http"]:
        chosen["HTTPService"] = HttpFrontend(server, HttpOptions.from_values(values), context)
    if values.get("allow_sagemaker"):
        chosen["Sagemaker HTTPService"] = SageMakerFrontend(SageMakerOptions.from_values(values), context)
    if values.get("allow_vertex_ai"):
        chosen["Vertex AI HTTPService"] = VertexAiFrontend(VertexAiOptions.from_values(values), context)
    if values["allow_metrics"]:
        chosen["Metrics Service"] = MetricsFrontend(server, MetricsOptions.from_values(values), context)
    return chosen


async def start_all(frontends: Mapping[str, Frontend], context: FrontendContext) -> None:
    """Start them in their order; all of them, or none. Raises OSError naming the address."""
    started: list[Frontend] = []
    try:
        for name, frontend in frontends.items():
            try:
                await frontend.start()
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror or error} ({name}: {_PLACES[name]})") from error
            started.append(frontend)
            for host, port in frontend.addresses:
                logger.info("Started %s at %s", name, shown(host, port))
            if frontend.addresses and not _asks_for_key(name, context):
                _warn_if_open(name, frontend.addresses[0][0])
    except BaseException:
        for frontend in reversed(started):
            await frontend.stop()
        raise


def _asks_for_key(name: str, context: FrontendContext) -> bool:
    api = Api.METRICS if name == "Metrics Service" else Api.INFERENCE
    return context.access is not None and context.access.asks_for_key(api)


def _warn_if_open(name: str, host: str) -> None:
    if host.startswith("unix:"):
        return
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        logger.warning(
            "%s listens on %s and asks for no key: every host that reaches this machine may use it. "
            "Bind it to 127.0.0.1 unless the network in front of it is trusted.",
            name,
            host,
        )
