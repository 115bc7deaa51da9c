"""What NVIDIA's management library says of GPUs: how many there are, what they are, and how busy and full. It has not
met a GPU here.

Unlike the CUDA driver it makes no context on the device, which would take some hundred megabytes of it.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """A GPU at one moment. `number`: as CUDA counts those that the process sees. What its driver does not tell, as for
    a part of a GPU (MIG) or an older one, is None.

    `utilization`: the part of the last sampling period in which a kernel ran, from 0 to 1. Power in watts, energy in
    joules since the driver was loaded, sizes in bytes.
    """

    number: int
    uuid: str
    name: str
    total_bytes: int | None
    used_bytes: int | None
    utilization: float | None
    power_watts: float | None
    power_limit_watts: float | None
    energy_joules: float | None


def gpu_count() -> int | None:
    """How many GPUs are in this machine or container; None where the package or the driver is not there to say it."""
    try:
        nvml = _loaded()
        return int(_asked(nvml, nvml.nvmlDeviceGetCount))
    except (MissingExtraError, UnavailableError):
        return None


def gpu_facts(number: int, environment: Mapping[str, str]) -> GpuFacts:
    """Of a GPU as CUDA counts those that the process's `environment` shows.

    Raises MissingExtraError without the package, UnavailableError where the library or the driver says no.
    """
    nvml = _loaded()
    device = _device(nvml, number, environment)
    major, minor = _asked(nvml, lambda: nvml.nvmlDeviceGetCudaComputeCapability(device))
    memory = _asked(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(device))
    return GpuFacts(major + minor / 10, memory.total, memory.used)


def gpu_readings(numbers: Sequence[int], environment: Mapping[str, str]) -> tuple[GpuReading, ...]:
    """Of GPUs as CUDA counts those that the process's `environment` shows.

    Raises MissingExtraError without the package, UnavailableError where a GPU cannot be found.
    """
    nvml = _loaded()
    return tuple(_reading(nvml, number, _device(nvml, number, environment)) for number in numbers)


def _reading(nvml: Any, number: int, device: Any) -> GpuReading:
    memory = _told(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(device))
    rates = _told(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(device))
    return GpuReading(
        number=number,
        uuid=_text(_asked(nvml, lambda: nvml.nvmlDeviceGetUUID(device))),
        name=_text(_asked(nvml, lambda: nvml.nvmlDeviceGetName(device))),
        total_bytes=memory.total if memory is not None else None,
        used_bytes=memory.used if memory is not None else None,
        utilization=rates.gpu / 100 if rates is not None else None,
        power_watts=_thousandth(_told(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(device))),
        power_limit_watts=_thousandth(_told(nvml, lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(device))),
        energy_joules=_thousandth(_told(nvml, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(device))),
    )


def _device(nvml: Any, number: int, environment: Mapping[str, str]) -> Any:
    """NVML's handle of a GPU, or of a part of one (MIG)."""
    named = environment.get("CUDA_VISIBLE_DEVICES", "")
    name = named.split(",")[number].strip() if named else str(number)
    if name.isdigit():
        return _asked(nvml, lambda: nvml.nvmlDeviceGetHandleByIndex(int(name)))
    return _asked(nvml, lambda: nvml.nvmlDeviceGetHandleByUUID(_whole_uuid(nvml, name)))


def _whole_uuid(nvml: Any, name: str) -> str:
    """CUDA takes the beginning of a GPU's identity for the whole; NVML does not."""
    if name.startswith("GPU-"):
        for index in range(_asked(nvml, nvml.nvmlDeviceGetCount)):
            device = _asked(nvml, lambda index=index: nvml.nvmlDeviceGetHandleByIndex(index))  # type: ignore[misc]
            uuid = _text(_asked(nvml, lambda device=device: nvml.nvmlDeviceGetUUID(device)))  # type: ignore[misc]
            if uuid.startswith(name):
                return uuid
    return name


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


def _told(nvml: Any, question: Callable[[], _T]) -> _T | None:
    """The same for what not every GPU tells."""
    try:
        return question()
    except nvml.NVMLError:
        return None


def _text(found: Any) -> str:
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)  # bytes in older versions


def _thousandth(found: int | None) -> float | None:
    return None if found is None else found / 1000
