"""Which NVIDIA GPUs this process may use: told by NVIDIA's management library where its package is installed (the extra
gpu), else from the device files that the driver makes. No GPU is woken. It has not met a GPU here.
"""

import os
import re
from collections.abc import Callable, Mapping

from atoll.devices.nvml import GpuReading, gpu_count, gpu_readings

_DEVICE = re.compile(r"nvidia\d+")
_IDENTITY = re.compile(r"(GPU|MIG)-\S+")


def visible_gpus(
    environment: Mapping[str, str], directory: str = "/dev", *, count: Callable[[], int | None] = gpu_count
) -> tuple[int, ...]:
    """Their numbers, as CUDA counts them. `environment` holds the process's variables: CUDA_VISIBLE_DEVICES names some
    of those that are there, by number or identity, and what follows a name that there is not is hidden, too; none with
    TRITON_SERVER_CPU_ONLY, unless that is 0. `count` says how many there are, or None where that cannot be asked.
    """
    if environment.get("TRITON_SERVER_CPU_ONLY", "0") not in ("0", ""):
        return ()
    asked = count()
    there = _device_files(directory) if asked is None else asked
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if there == 0 or named is None:
        return tuple(range(there))
    shown = 0
    for one in map(str.strip, named.split(",")):
        if not _IDENTITY.fullmatch(one) and not (one.isascii() and one.isdigit() and int(one) < there):
            break
        shown += 1
    return tuple(range(shown))


def gpus(environment: Mapping[str, str]) -> tuple[GpuReading, ...]:
    """What there is to say of each of those. Raises MissingExtraError where the package is not there, UnavailableError
    where the driver does not answer; where there are none, neither is asked.
    """
    there = visible_gpus(environment)
    return gpu_readings(there, environment) if there else ()


def _device_files(directory: str) -> int:
    try:
        return sum(1 for name in os.listdir(directory) if _DEVICE.fullmatch(name))
    except OSError:
        return 0
