"""The SageMaker frontend of a server process."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from atoll.errors import InvalidArgumentError
from atoll.frontends.context import FrontendContext
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.listening import HttpListening
from atoll.frontends.http.service import HttpService
from atoll.frontends.listening.address import beside
from atoll.frontends.listening.options import ListenOptions
from atoll.frontends.sagemaker.endpoints import SageMakerEndpoints, SageMakerSettings
from atoll.frontends.sagemaker.models import EndpointModels

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_OTHERS = (("http", "HTTP"), ("grpc", "GRPC"), ("metrics", "metrics"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SageMakerOptions(ListenOptions):
    """Where to listen, what a client may cost, and what the hosting container's environment says."""

    port: int = 8080
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    settings: SageMakerSettings = field(default_factory=SageMakerSettings)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name, and the environment. Raises InvalidArgumentError."""
        check_port_range(values)
        return cls(
            host=beside(values["http_address"]),
            port=values["sagemaker_port"],
            loops=values["sagemaker_thread_count"],
            limits=ConnectionLimits.from_values(values),
            settings=SageMakerSettings.from_environment(os.environ),
        )


def check_port_range(values: Mapping[str, Any]) -> None:
    """Raises InvalidArgumentError for another endpoint's port outside of --sagemaker-safe-port-range."""
    text = values["sagemaker_safe_port_range"]
    if not text:
        return
    first, dash, last = text.partition("-")
    if not dash or not first.isdecimal() or not last.isdecimal():
        raise InvalidArgumentError(
            f"--sagemaker-safe-port-range={text}: requires format <first>-<last>, such as 9000-9100"
        )
    for name, shown in _OTHERS:
        port = values[f"{name}_port"]
        if values[f"allow_{name}"] and not int(first) <= port <= int(last):
            raise InvalidArgumentError(
                f"The server cannot listen to {shown} requests at port {port}, allowed port range is [{first}, {last}]"
            )


class SageMakerFrontend(HttpListening):
    """Accepts connections on the event loop on which it is started."""

    def __init__(self, options: SageMakerOptions, context: FrontendContext):
        server, limits = context.server, options.limits
        models = EndpointModels(server)

        def service(loop: "AbstractEventLoop") -> SageMakerEndpoints:
            http = HttpService(server, loop, limits.max_body_size, context)
            return SageMakerEndpoints(server, loop, options.settings, models, http)

        super().__init__(options, limits, service, "sagemaker", context.access_log)
