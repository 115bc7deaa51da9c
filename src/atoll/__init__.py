"""Atoll: an inference server that speaks Triton's protocols, and a library that needs none of them.

The face: names are looked up when they are first used (PEP 562), so `import atoll` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atoll.errors import (
        AlreadyExistsError,
        AtollError,
        CancelledError,
        ConfigError,
        InternalError,
        InvalidArgumentError,
        MissingExtraError,
        ModelAsleepError,
        NotFoundError,
        UnavailableError,
        UnsupportedError,
    )
    from atoll.frontends.http.asgi import asgi_app
    from atoll.listener import listen
    from atoll.models.function_tensors import TensorSpec
    from atoll.models.model import Model
    from atoll.request import InferenceRequest, InferenceResponse, ResponseSender
    from atoll.server import Server
    from atoll.tensor import DataType, Tensor

_HOME = {
    "AlreadyExistsError": "atoll.errors",
    "AtollError": "atoll.errors",
    "CancelledError": "atoll.errors",
    "ConfigError": "atoll.errors",
    "DataType": "atoll.tensor",
    "InferenceRequest": "atoll.request",
    "InferenceResponse": "atoll.request",
    "InternalError": "atoll.errors",
    "InvalidArgumentError": "atoll.errors",
    "MissingExtraError": "atoll.errors",
    "Model": "atoll.models.model",
    "ModelAsleepError": "atoll.errors",
    "NotFoundError": "atoll.errors",
    "ResponseSender": "atoll.request",
    "Server": "atoll.server",
    "Tensor": "atoll.tensor",
    "TensorSpec": "atoll.models.function_tensors",
    "UnavailableError": "atoll.errors",
    "UnsupportedError": "atoll.errors",
    "asgi_app": "atoll.frontends.http.asgi",
    "listen": "atoll.listener",
}

__all__ = [
    "AlreadyExistsError",
    "AtollError",
    "CancelledError",
    "ConfigError",
    "DataType",
    "InferenceRequest",
    "InferenceResponse",
    "InternalError",
    "InvalidArgumentError",
    "MissingExtraError",
    "Model",
    "ModelAsleepError",
    "NotFoundError",
    "ResponseSender",
    "Server",
    "Tensor",
    "TensorSpec",
    "UnavailableError",
    "UnsupportedError",
    "asgi_app",
    "listen",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'atoll' has no attribute '{name}'")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
