"""Which cores threads run on, and from which NUMA node they take their memory: Linux keeps it for each thread, and what
a thread starts inherits it.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_SET_POLICY, _GET_POLICY = {"x86_64": (238, 239), "aarch64": (237, 236)}.get(platform.machine(), (0, 0))
_DEFAULT, _PREFERRED = 0, 1  # linux/mempolicy.h
_MASK_BITS = 1024
_MASK = ctypes.c_ulong * (_MASK_BITS // (8 * ctypes.sizeof(ctypes.c_ulong)))


@dataclass(frozen=True)
class HostPolicy:
    """`cores`: where the threads may run. `numa_node`: the node that their memory comes from, while it has any; None
    leaves that to the kernel.
    """

    name: str
    cores: frozenset[int]
    numa_node: int | None = None

    def document(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        return {"name": self.name, "cores": sorted(self.cores), "numa_node": self.numa_node}


def from_document(document: Mapping[str, Any]) -> HostPolicy:
    """What `document` has made."""
    return HostPolicy(document["name"], frozenset(document["cores"]), document["numa_node"])


def node_cores(node: int, root: str = "/sys/devices/system/node") -> frozenset[int]:
    """The cores of a NUMA node. Raises OSError where there is no such node."""
    with open(f"{root}/node{node}/cpulist") as file:
        text = file.read().strip()
    cores: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return frozenset(cores)


def apply(policy: HostPolicy) -> None:
    """The calling thread keeps to the policy from now on, and what it starts. Raises OSError where the kernel does not
    let it run on any of the cores.

    The memory's node is a wish: where the kernel does not grant it (a container may forbid that), it stays as it was.
    """
    os.sched_setaffinity(0, policy.cores)
    if policy.numa_node is not None:
        mask = _MASK()
        bits = 8 * ctypes.sizeof(ctypes.c_ulong)
        if policy.numa_node < _MASK_BITS:
            mask[policy.numa_node // bits] = 1 << policy.numa_node % bits
            _set_memory_policy(_PREFERRED, mask)


@contextmanager
def applied(policy: HostPolicy | None) -> Iterator[None]:
    """The calling thread keeps to the policy in this block, and what it starts there for good. Raises as `apply`."""
    if policy is None:
        yield
        return
    cores = os.sched_getaffinity(0)
    mode, mask = _memory_policy()
    try:
        apply(policy)
        yield
    finally:
        os.sched_setaffinity(0, cores)
        if policy.numa_node is not None:
            _set_memory_policy(mode, mask)


def _memory_policy() -> tuple[int, Any]:
    mode, mask = ctypes.c_int(_DEFAULT), _MASK()
    if _GET_POLICY:
        _system_call(_GET_POLICY, ctypes.byref(mode), mask, ctypes.c_ulong(_MASK_BITS), None, ctypes.c_ulong(0))
    return mode.value, mask


def _set_memory_policy(mode: int, mask: Any) -> None:
    if _SET_POLICY:
        _system_call(_SET_POLICY, ctypes.c_int(mode), mask, ctypes.c_ulong(_MASK_BITS))


def _system_call(number: int, *arguments: Any) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))
