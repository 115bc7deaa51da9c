"""Which NVIDIA GPUs this process may use, told from the device files that the driver makes: no library is loaded, and
no GPU is woken. It has not met a GPU here.
"""

import os
import re
from collections.abc import Mapping

_DEVICE = re.compile(r"nvidia\d+")
_IDENTITY = re.compile(r"(GPU|MIG)-\S+")


def visible_gpus(environment: Mapping[str, str], directory: str = "/dev") -> tuple[int, ...]:
    """Their numbers, as CUDA counts them. `environment` holds the process's variables: CUDA_VISIBLE_DEVICES names some
    of those that are there, by number or identity, and what follows a name that there is not is hidden, too; none with
    TRITON_SERVER_CPU_ONLY, unless that is 0.
    """
    if environment.get("TRITON_SERVER_CPU_ONLY", "0") not in ("0", ""):
        return ()
    try:
        there = sum(1 for name in os.listdir(directory) if _DEVICE.fullmatch(name))
    except OSError:
        there = 0
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if there == 0 or named is None:
        return tuple(range(there))
    count = 0
    for one in map(str.strip, named.split(",")):
        if not _IDENTITY.fullmatch(one) and not (one.isascii() and one.isdigit() and int(one) < there):
            break
        count += 1
    return tuple(range(count))
