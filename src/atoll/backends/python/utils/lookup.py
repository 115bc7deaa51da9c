"""Finding tensors and their configurations by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atoll.backends.python.utils.request import InferenceRequest
from atoll.backends.python.utils.response import InferenceResponse
from atoll.backends.python.utils.tensor import Tensor


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | None:
    """The request's input of that name; None where it has none."""
    for tensor in inference_request.inputs():
        if tensor.name() == name:
            return tensor
    return None


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> Tensor | None:
    """The response's output of that name; None where it has none."""
    for tensor in inference_response.output_tensors():
        if tensor.name() == name:
            return tensor
    return None


def get_input_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """What the configuration says of the input of that name; None where it has none."""
    return _named(model_config, "input", name)


def get_output_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """What the configuration says of the output of that name; None where it has none."""
    return _named(model_config, "output", name)


def using_decoupled_model_transaction_policy(model_config: Mapping[str, Any]) -> bool:
    """Whether the model may send any number of responses to a request."""
    if "model_transaction_policy" not in model_config:
        return False
    decoupled: bool = model_config["model_transaction_policy"]["decoupled"]
    return decoupled


def _named(model_config: Mapping[str, Any], key: str, name: str) -> dict[str, Any] | None:
    found: dict[str, Any]
    for found in model_config.get(key, ()):
        if found["name"] == name:
            return found
    return None
