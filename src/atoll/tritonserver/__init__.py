"""The in-process Python API under the names of NVIDIA's `tritonserver` package: a thin layer over `atoll.Server`.

import atoll.tritonserver as tritonserver
server = tritonserver.Server(model_repository="models").start(wait_until_ready=True)
for response in server.model("simple").infer(inputs={"INPUT0": a, "INPUT1": b}): ...
server.stop()

What differs from that package is in docs/tritonserver-api.md.
"""

from atoll.errors import (
    AlreadyExistsError,
    CancelledError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from atoll.errors import AtollError as TritonError
from atoll.tritonserver.enums import (
    DataType,
    InstanceGroupKind,
    LogFormat,
    LogLevel,
    MemoryType,
    MetricFormat,
    MetricKind,
    ModelBatchFlag,
    ModelControlMode,
    ModelTxnPropertyFlag,
    RateLimitMode,
)
from atoll.tritonserver.logs import LogMessage
from atoll.tritonserver.memory import (
    DeviceOrMemoryType,
    MemoryAllocator,
    MemoryBuffer,
    default_memory_allocators,
)
from atoll.tritonserver.metrics import Metric, MetricFamily
from atoll.tritonserver.model import Model
from atoll.tritonserver.options import ModelLoadDeviceLimit, Options, RateLimiterResource
from atoll.tritonserver.request import InferenceRequest
from atoll.tritonserver.response import AsyncResponseIterator, InferenceResponse, ResponseIterator
from atoll.tritonserver.server import ModelDictionary, Server
from atoll.tritonserver.tensor import Tensor


class UnknownError(TritonError):
    """A failure of no other kind. Atoll itself raises none."""


__all__ = [
    "AlreadyExistsError",
    "AsyncResponseIterator",
    "CancelledError",
    "DataType",
    "DeviceOrMemoryType",
    "InferenceRequest",
    "InferenceResponse",
    "InstanceGroupKind",
    "InternalError",
    "InvalidArgumentError",
    "LogFormat",
    "LogLevel",
    "LogMessage",
    "MemoryAllocator",
    "MemoryBuffer",
    "MemoryType",
    "Metric",
    "MetricFamily",
    "MetricFormat",
    "MetricKind",
    "Model",
    "ModelBatchFlag",
    "ModelControlMode",
    "ModelDictionary",
    "ModelLoadDeviceLimit",
    "ModelTxnPropertyFlag",
    "NotFoundError",
    "Options",
    "RateLimitMode",
    "RateLimiterResource",
    "ResponseIterator",
    "Server",
    "Tensor",
    "TritonError",
    "UnavailableError",
    "UnknownError",
    "UnsupportedError",
    "default_memory_allocators",
]
