"""What each endpoint is for, what it takes and what it gives: for all that the route table has, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
BINARY: Final = "application/octet-stream"
HTML: Final = "text/html"


@dataclass(frozen=True, slots=True)
class Operation:
    """`takes` and `gives`: names in SCHEMAS; "" is no body. `form`: the media type of what it gives. `binary`: tensors
    may follow the JSON, both ways. `optional`: it may be asked without a body.
    """

    summary: str
    gives: str = ""
    takes: str = ""
    form: str = JSON
    binary: bool = False
    optional: bool = True


_READY = "200 where it is ready, 400 where it is not"
_MODEL = "/v2/models/{model}"
_REPOSITORY = "/v2/repository"
_SYSTEM, _CUDA = "/v2/systemsharedmemory", "/v2/cudasharedmemory"

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/v2"): Operation("The server's name, its version and the extensions that it speaks", "ServerMetadata"),
    ("GET", "/v2/health/live"): Operation("Whether the server answers at all"),
    ("GET", "/v2/health/ready"): Operation(f"Whether requests should be sent here: {_READY}"),
    ("GET", "/v2/models/stats"): Operation("The statistics of all models", "Statistics"),
    ("GET", _MODEL): Operation("A model's inputs and outputs, and its versions", "ModelMetadata"),
    ("GET", _MODEL + "/ready"): Operation(f"Whether a model takes requests: {_READY}"),
    ("GET", _MODEL + "/config"): Operation("A model's complete configuration", "ModelConfig"),
    ("GET", _MODEL + "/stats"): Operation("A model's statistics", "Statistics"),
    ("POST", _MODEL + "/infer"): Operation(
        "Run a model once", "InferResponse", "InferRequest", binary=True, optional=False
    ),
    ("POST", _MODEL + "/generate"): Operation(
        "Run a model once, with one flat object in and one out", "GenerateResponse", "GenerateRequest", optional=False
    ),
    ("POST", _MODEL + "/generate_stream"): Operation(
        "Run a model, and have each of its responses as a server-sent event",
        "GenerateResponse",
        "GenerateRequest",
        EVENTS,
        optional=False,
    ),
    ("POST", _REPOSITORY + "/index"): Operation(
        "Every model of the repositories, and its state", "Index", "IndexRequest"
    ),
    ("POST", _REPOSITORY + "/models/{model}/load"): Operation("Load a model, or load it anew", "", "LoadRequest"),
    ("POST", _REPOSITORY + "/models/{model}/unload"): Operation("Take a model out of service", "", "UnloadRequest"),
    ("GET", _SYSTEM + "/status"): Operation("The regions of system shared memory", "SystemRegions"),
    ("GET", _SYSTEM + "/region/{region}/status"): Operation("A region of system shared memory", "SystemRegions"),
    ("POST", _SYSTEM + "/region/{region}/register"): Operation(
        "Register a region of system shared memory", "", "SystemRegistration", optional=False
    ),
    ("POST", _SYSTEM + "/register"): Operation("Refused: a region is registered under its name"),
    ("POST", _SYSTEM + "/unregister"): Operation("Unregister all regions of system shared memory"),
    ("POST", _SYSTEM + "/region/{region}/unregister"): Operation("Unregister a region of system shared memory"),
    ("GET", _CUDA + "/status"): Operation("The regions of GPUs' memory", "CudaRegions"),
    ("GET", _CUDA + "/region/{region}/status"): Operation("A region of a GPU's memory", "CudaRegions"),
    ("POST", _CUDA + "/region/{region}/register"): Operation(
        "Register a region of a GPU's memory", "", "CudaRegistration", optional=False
    ),
    ("POST", _CUDA + "/register"): Operation("Refused: a region is registered under its name"),
    ("POST", _CUDA + "/unregister"): Operation("Unregister all regions of GPUs' memory"),
    ("POST", _CUDA + "/region/{region}/unregister"): Operation("Unregister a region of a GPU's memory"),
    ("GET", "/v2/trace/setting"): Operation("What is traced", "TraceSettings"),
    ("POST", "/v2/trace/setting"): Operation("Change what is traced", "TraceSettings", "TraceSettings"),
    ("GET", _MODEL + "/trace/setting"): Operation("What is traced of a model", "TraceSettings"),
    ("POST", _MODEL + "/trace/setting"): Operation(
        "Change what is traced of a model", "TraceSettings", "TraceSettings"
    ),
    ("GET", "/v2/logging"): Operation("What the log takes", "LogSettings"),
    ("POST", "/v2/logging"): Operation("Change what the log takes", "LogSettings", "LogSettings"),
    ("GET", "/dashboard"): Operation("A page that shows how the models are doing", form=HTML),
    ("GET", "/dashboard/data"): Operation("What that page shows", "Dashboard"),
    ("GET", "/openapi.json"): Operation("This document", "OpenApi"),
    ("GET", "/docs"): Operation("A page to try the endpoints", form=HTML),
}

_ALIASES = (("/versions/{version}", ""), ("/repository/{repository}", "/repository"))


def operation_of(method: str, path: str) -> Operation | None:
    """An endpoint's; that of one version of a model is the model's. None for one that is not described here."""
    for alias, plain in _ALIASES:
        path = path.replace(alias, plain)
    return OPERATIONS.get((method, path))
