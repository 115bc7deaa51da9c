"""What a Python model imports as `triton_python_backend_utils`."""

from atoll.backends.python.utils.calls import ResponseIterator
from atoll.backends.python.utils.current import get_model_dir
from atoll.backends.python.utils.custom_metrics import Metric, MetricFamily, MetricKind
from atoll.backends.python.utils.data_types import (
    TRITON_STRING_TO_NUMPY,
    deserialize_bytes_tensor,
    numpy_to_triton_type,
    serialize_byte_tensor,
    triton_string_to_numpy,
    triton_to_numpy_type,
)
from atoll.backends.python.utils.errors import TritonError, TritonModelException
from atoll.backends.python.utils.logger import Logger
from atoll.backends.python.utils.lookup import (
    get_input_config_by_name,
    get_input_tensor_by_name,
    get_output_config_by_name,
    get_output_tensor_by_name,
    using_decoupled_model_transaction_policy,
)
from atoll.backends.python.utils.memory import MemoryType, PreferredMemory
from atoll.backends.python.utils.model_config import ModelConfig
from atoll.backends.python.utils.other_models import is_model_ready, load_model, unload_model
from atoll.backends.python.utils.request import (
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_END,
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_START,
    TRITONSERVER_REQUEST_RELEASE_ALL,
    TRITONSERVER_REQUEST_RELEASE_RESCHEDULE,
    InferenceRequest,
)
from atoll.backends.python.utils.response import InferenceResponse
from atoll.backends.python.utils.sender import TRITONSERVER_RESPONSE_COMPLETE_FINAL, InferenceResponseSender
from atoll.backends.python.utils.tensor import Tensor
from atoll.backends.python.utils.trace import InferenceTrace

TRITONSERVER_MEMORY_CPU = MemoryType.TRITONSERVER_MEMORY_CPU
TRITONSERVER_MEMORY_GPU = MemoryType.TRITONSERVER_MEMORY_GPU

__all__ = [
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
    "TRITONSERVER_REQUEST_RELEASE_ALL",
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
    "TRITON_STRING_TO_NUMPY",
    "InferenceRequest",
    "InferenceResponse",
    "InferenceResponseSender",
    "InferenceTrace",
    "Logger",
    "MemoryType",
    "Metric",
    "MetricFamily",
    "MetricKind",
    "ModelConfig",
    "PreferredMemory",
    "ResponseIterator",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "deserialize_bytes_tensor",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_model_dir",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "is_model_ready",
    "load_model",
    "numpy_to_triton_type",
    "serialize_byte_tensor",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "unload_model",
    "using_decoupled_model_transaction_policy",
]

for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[
            _name
        ].__module__ = "triton_python_backend_utils"  # in errors and tracebacks: the name that authors know
