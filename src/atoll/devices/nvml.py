"""What NVIDIA's management library says of a GPU: how new it is, and how full its memory. It has not met a GPU here.

Unlike the CUDA driver it makes no context on the device, which would take some hundred megabytes of it.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from atoll.errors import MissingExtraError, UnavailableError

_T = TypeVar("_T")
_lock = threading.Lock()
_library: Any = None


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """`capability`: the compute capability, such as 8.6. Sizes in bytes."""

    capability: float
    total_bytes: int
    used_bytes: int


def gpu_facts(number: int, environment: Mapping[str, str]) -> GpuFacts:
    """Of a GPU as CUDA counts those that the process's `environment` shows.

    Raises MissingExtraError without the package, UnavailableError where the library or the driver says no.
    """
    nvml = _loaded()
    named = environment.get("CUDA_VISIBLE_DEVICES", "")
    name = named.split(",")[number].strip() if named else str(number)
    if name.isdigit():
        device = _asked(nvml, lambda: nvml.nvmlDeviceGetHandleByIndex(int(name)))
    else:
        device = _asked(nvml, lambda: nvml.nvmlDeviceGetHandleByUUID(name))
    major, minor = _asked(nvml, lambda: nvml.nvmlDeviceGetCudaComputeCapability(device))
    memory = _asked(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(device))
    return GpuFacts(major + minor / 10, memory.total, memory.used)


def _loaded() -> Any:
    """The package, its library initialized once for the process."""
    global _library
    with _lock:
        if _library is None:
            try:
                import pynvml
            except ImportError as missing:
                raise MissingExtraError(
                    "what a GPU is and how full its memory, the package nvidia-ml-py says: pip install 'atoll[gpu]'"
                ) from missing
            _asked(pynvml, pynvml.nvmlInit)
            _library = pynvml
        return _library


def _asked(nvml: Any, question: Callable[[], _T]) -> _T:
    try:
        return question()
    except nvml.NVMLError as error:
        raise UnavailableError(f"NVML does not answer about the GPUs: {error}") from error
