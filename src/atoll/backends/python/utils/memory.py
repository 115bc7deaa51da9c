"""Where a model wants the outputs of its requests to other models."""

from __future__ import annotations

from enum import IntEnum

from atoll.backends.python.utils.arguments import mismatch


class MemoryType(IntEnum):
    """A kind of memory."""

    TRITONSERVER_MEMORY_GPU = 0
    TRITONSERVER_MEMORY_CPU = 1

    def __repr__(self) -> str:
        return f"<MemoryType.{self.name}: {self.value}>"

    def __str__(self) -> str:
        return f"MemoryType.{self.name}"


class PreferredMemory:
    """Where the outputs of a request to another model should be: a kind of memory and a device's number."""

    __slots__ = ("device_id", "memory_type")

    def __init__(self, preferred_memory_type: MemoryType, preferred_device_id: int = 0):
        if not isinstance(preferred_memory_type, MemoryType) or not isinstance(preferred_device_id, int):
            raise mismatch(
                "c_python_backend_utils.PreferredMemory(preferred_memory_type: "
                "triton::backend::python::PreferredMemory::MemoryType, preferred_device_id: int = 0)",
                (preferred_memory_type, preferred_device_id),
            )
        self.memory_type = preferred_memory_type
        self.device_id = preferred_device_id
