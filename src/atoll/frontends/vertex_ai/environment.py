"""What Vertex AI's environment changes of the options' defaults, as it does for the real server (2.51)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.errors import InvalidArgumentError
from atoll.options import MAX_PORT


@dataclass(frozen=True, slots=True)
class AipRoutes:
    """The paths on which Vertex AI asks: for predictions, and for health."""

    predict: str
    health: str


def aip_routes(environment: Mapping[str, str]) -> AipRoutes:
    """AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE. Raises InvalidArgumentError where one is missing, or they are one."""
    found = []
    for name in ("AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE"):
        value = environment.get(name, "")
        if not value:
            raise InvalidArgumentError(
                f"{name} is not defined for Vertex AI endpoint: set it in the environment, such as {name}=/v1/predict"
            )
        found.append(value)
    if found[0] == found[1]:
        raise InvalidArgumentError(f"AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE are both '{found[0]}': give two paths")
    return AipRoutes(found[0], found[1])


def option_defaults(environment: Mapping[str, str]) -> dict[str, Any]:
    """The options, by field name, whose defaults the environment changes. Raises InvalidArgumentError.

    Under Vertex AI the server is behind its endpoint alone: HTTP and gRPC are off unless somebody asks for them.
    """
    defaults: dict[str, Any] = {}
    if environment.get("AIP_MODE") == "PREDICTION":
        defaults |= {"allow_vertex_ai": True, "allow_http": False, "allow_grpc": False}
    port = environment.get("AIP_HTTP_PORT")
    if port is not None:
        if not port.isdecimal() or int(port) > MAX_PORT:
            raise InvalidArgumentError(f"AIP_HTTP_PORT={port}: expected a port, a whole number up to {MAX_PORT}")
        defaults["vertex_ai_port"] = int(port)
    return defaults


def storage(environment: Mapping[str, str]) -> list[str]:
    """The model repository where the command line names none."""
    location = environment.get("AIP_STORAGE_URI", "")
    return [location] if location else []
