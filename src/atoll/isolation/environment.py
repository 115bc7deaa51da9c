"""The environment variables of a child process."""

from __future__ import annotations

import os
from collections.abc import Mapping

from atoll.errors import ConfigError

THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
GPU = "KIND_GPU"


def child_environment(
    server_environment: Mapping[str, str],
    *,
    threads: int,
    device: tuple[str, int] = ("KIND_CPU", 0),
    replaced: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The server's own variables, with those that a child needs otherwise.

    `threads` is how many threads BLAS and OpenMP libraries start, unless an operator has said so: each of their
    variables that is set stays as it is, and OMP_NUM_THREADS decides for all the others, as these libraries have it.
    `device` is the instance's kind and id. `replaced` are variables to set as they are, and those to take away: the
    empty ones. Raises ConfigError for a GPU that the server's own CUDA_VISIBLE_DEVICES hides.

    An instance of kind KIND_GPU sees its own GPU alone, as number 0: what uses the default device and what asks for
    the device of its instance then mean the same one, if the instance is told 0 (`device_id_in_child`). Instances of
    all other kinds see what the server sees.
    """
    variables = {**server_environment, **(replaced or {})}
    variables = {name: value for name, value in variables.items() if value or name not in (replaced or {})}
    if THREAD_COUNTS[0] not in variables:
        for name in THREAD_COUNTS:
            variables.setdefault(name, str(max(1, threads)))
    kind, number = device
    if kind == GPU:
        variables["CUDA_VISIBLE_DEVICES"] = _device_name(variables.get("CUDA_VISIBLE_DEVICES"), number)
    return variables


def device_id_in_child(device: tuple[str, int]) -> int:
    """The number under which an instance's process knows its device."""
    kind, number = device
    return 0 if kind == GPU else number


def _device_name(visible: str | None, number: int) -> str:
    """What CUDA calls the GPU that is this number to the server: a number, or the id of a GPU or of a part of one."""
    if visible is None:
        return str(number)
    names = [one.strip() for one in visible.split(",") if one.strip()]
    if number >= len(names):
        raise ConfigError(
            f"an instance is to run on GPU {number}, but CUDA_VISIBLE_DEVICES={visible} leaves the server "
            f"{len(names)}: correct 'gpus' in instance_group, or the variable"
        )
    return names[number]


def threads_per_instance(instances: int, cores: int | None = None) -> int:
    """How many threads each of so many instances should have for itself: a share of the cores, at least one."""
    return max(1, (usable_cores() if cores is None else cores) // max(1, instances))


def usable_cores() -> int:
    """The cores that this process may use: those it is bound to, and no more than its control group's quota."""
    bound = len(os.sched_getaffinity(0))
    return max(1, min(bound, _quota("/sys/fs/cgroup") or bound))


def _quota(directory: str) -> int | None:
    """Cores, rounded up, that a control group allows; None: no limit, or none that can be read."""
    try:
        with open(f"{directory}/cpu.max") as file:  # version 2
            limit, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open(f"{directory}/cpu/cpu.cfs_quota_us") as file, open(f"{directory}/cpu/cpu.cfs_period_us") as other:
                limit, period = file.read().strip(), other.read().strip()
        except OSError:
            return None
    try:
        return max(1, -(-int(limit) // int(period))) if int(limit) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max"
        return None
