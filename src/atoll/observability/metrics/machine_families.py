"""The families of the machine and of the server's process: CPU, memory, GPUs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from atoll.devices.cpu_meter import CpuReading
from atoll.devices.nvml import GpuReading
from atoll.devices.process_meter import ProcessReading
from atoll.observability.metrics.text_format import braces, family, number

_CPU: Final[tuple[tuple[str, str, Callable[[CpuReading], float]], ...]] = (
    ("nv_cpu_utilization", "CPU utilization rate [0.0 - 1.0]", lambda cpu: cpu.utilization),
    ("nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes", lambda cpu: cpu.memory_total),
    ("nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes", lambda cpu: cpu.memory_used),
)
_GPU: Final[tuple[tuple[str, str, str, Callable[[GpuReading], float | None]], ...]] = (
    ("nv_gpu_utilization", "GPU utilization rate [0.0 - 1.0)", "gauge", lambda gpu: gpu.utilization),
    ("nv_gpu_memory_total_bytes", "GPU total memory, in bytes", "gauge", lambda gpu: gpu.total_bytes),
    ("nv_gpu_memory_used_bytes", "GPU used memory, in bytes", "gauge", lambda gpu: gpu.used_bytes),
    ("nv_gpu_power_usage", "GPU power usage in watts", "gauge", lambda gpu: gpu.power_watts),
    ("nv_gpu_power_limit", "GPU power management limit in watts", "gauge", lambda gpu: gpu.power_limit_watts),
    (
        "nv_energy_consumption",
        "GPU energy consumption in joules since the Triton Server started",
        "counter",
        lambda gpu: gpu.energy_joules,
    ),
)
_PROCESS: Final[tuple[tuple[str, str, str, Callable[[ProcessReading], float]], ...]] = (
    (
        "process_cpu_seconds_total",
        "CPU time that the server's process has used, in seconds (not in Triton)",
        "counter",
        lambda process: process.cpu_s,
    ),
    (
        "process_resident_memory_bytes",
        "Physical memory of the server's process, in bytes (not in Triton)",
        "gauge",
        lambda process: process.resident_bytes,
    ),
    (
        "process_start_time_seconds",
        "When the server's process began, in seconds since the epoch (not in Triton)",
        "gauge",
        lambda process: process.started_s,
    ),
    (
        "process_open_fds",
        "Number of files and sockets that the server's process has open (not in Triton)",
        "gauge",
        lambda process: process.open_files,
    ),
)
NAMES: Final = frozenset(name for name, *_ in (*_CPU, *_GPU, *_PROCESS))


def cpu_families(cpu: CpuReading) -> Iterator[str]:
    """Of the machine's CPUs and memory."""
    for name, description, read in _CPU:
        yield family(name, description, "gauge", [f"{name} {number(read(cpu))}\n"])


def gpu_families(gpus: Sequence[GpuReading]) -> Iterator[str]:
    """Of each GPU, what its driver tells."""
    found = {gpu.uuid: gpu for gpu in gpus}  # the same one may be named twice in CUDA_VISIBLE_DEVICES
    for name, description, kind, read in _GPU:
        values = [(uuid, read(gpu)) for uuid, gpu in found.items()]
        lines = [
            f"{name}{braces([('gpu_uuid', uuid)])} {number(value)}\n" for uuid, value in values if value is not None
        ]
        yield family(name, description, kind, lines)


def process_families(process: ProcessReading) -> Iterator[str]:
    """Of the server's own process, without those of its models."""
    for name, description, kind, read in _PROCESS:
        yield family(name, description, kind, [f"{name} {number(read(process))}\n"])
