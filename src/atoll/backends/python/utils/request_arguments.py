"""The arguments of `InferenceRequest` that are not of exactly the usual types."""

from __future__ import annotations

from types import NoneType
from typing import Any

from atoll.backends.python.utils.arguments import as_integer, as_text, mismatch
from atoll.backends.python.utils.errors import TritonModelException
from atoll.backends.python.utils.memory import PreferredMemory
from atoll.backends.python.utils.tensor import Tensor
from atoll.backends.python.utils.trace import InferenceTrace

MAX_UINT32, MAX_UINT64 = 2**32 - 1, 2**64 - 1
MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1
_SIGNATURE = (
    "c_python_backend_utils.InferenceRequest(request_id: str = '', correlation_id: object = 0, "
    "inputs: List[triton::backend::python::PbTensor], requested_output_names: List[str], model_name: str, "
    "model_version: int = -1, flags: int = 0, timeout: int = 0, "
    "preferred_memory: c_python_backend_utils.PreferredMemory, trace: c_python_backend_utils.InferenceTrace, "
    "parameters: object = None)"
)


def checked_arguments(**given: Any) -> tuple[str, list[Tensor], list[str], str, int, int, int]:
    """The arguments of unusual types as those of the usual ones. Raises what `InferenceRequest` does."""
    request_id, model_name = as_text(given["request_id"]), as_text(given["model_name"])
    version = as_integer(given["model_version"], MIN_INT64, MAX_INT64)
    flags = as_integer(given["flags"], 0, MAX_UINT32)
    timeout = as_integer(given["timeout"], 0, MAX_UINT64)
    inputs, names = given["inputs"], given["requested_output_names"]
    if (
        request_id is None
        or model_name is None
        or version is None
        or flags is None
        or timeout is None
        or given["correlation_id"] is None
        or not isinstance(inputs, (list, tuple))
        or not isinstance(names, (list, tuple))
        or not all(tensor is None or isinstance(tensor, Tensor) for tensor in inputs)
        or any(as_text(name) is None for name in names)
        or not isinstance(given["preferred_memory"], (PreferredMemory, NoneType))
        or not isinstance(given["trace"], (InferenceTrace, NoneType))
    ):
        raise mismatch(_SIGNATURE, (), given)
    where = f"for request with id '{request_id}' and model name '{model_name}' should not be empty."
    if any(tensor is None for tensor in inputs):
        raise TritonModelException(f"Input tensor {where}")
    if not all(names):
        raise TritonModelException(f"Requested output name {where}")
    return request_id, list(inputs), [as_text(name) or "" for name in names], model_name, version, flags, timeout


def checked_correlation_id(value: object) -> int | str:
    if isinstance(value, str):
        return value
    if not isinstance(value, int):
        raise TritonModelException("Correlation ID must be integer or string")
    if not 0 <= value <= MAX_UINT64:
        raise RuntimeError(f"correlation ID {value} is no unsigned 64-bit integer")
    return int(value)
