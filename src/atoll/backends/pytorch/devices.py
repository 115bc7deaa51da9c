"""Where a model's modules are: which device an instance runs on, and which instances share a module there."""

import threading
from collections.abc import Callable
from typing import Any

from atoll.backends.api import Placement
from atoll.config.model_config import ModelConfig, ModelInstanceGroup

CPU = "cpu"
ANYWHERE = ""  # KIND_MODEL: the module stays on the devices that it was saved for

_Kind = ModelInstanceGroup.Kind


def device_of(placement: Placement) -> str:
    """PyTorch's name of an instance's device; ANYWHERE where the module chooses."""
    if placement.kind == "KIND_MODEL":
        return ANYWHERE
    return f"cuda:{placement.device_id}" if placement.kind == "KIND_GPU" else CPU


def first_device(config: ModelConfig) -> str:
    """That of the first instance that there will be."""
    group = next(iter(config.instance_group), None)
    if group is None or group.kind in (_Kind.KIND_CPU, _Kind.KIND_AUTO):
        return CPU
    return ANYWHERE if group.kind is _Kind.KIND_MODEL else f"cuda:{next(iter(group.gpus), 0)}"


def instances_on_cpu(config: ModelConfig) -> int:
    """How many instances of the model compute with the processor's cores."""
    return sum(max(group.count, 1) for group in config.instance_group if group.kind is _Kind.KIND_CPU)


def largest_group(config: ModelConfig) -> int:
    """How many instances there are at most on one device."""
    return max((max(group.count, 1) for group in config.instance_group), default=1)


def only_cpu(config: ModelConfig) -> bool:
    """Whether no instance uses an accelerator."""
    return all(group.kind is _Kind.KIND_CPU for group in config.instance_group)


class Modules:
    """A model's modules. `make(device)` loads one; where `shared`, a device has one for all instances there, else each
    instance gets its own. Thread-safe.
    """

    def __init__(self, make: Callable[[str], Any], shared: bool):
        self._make = make
        self._shared = shared
        self._lock = threading.Lock()
        self._kept: dict[str, Any] = {}

    def keep(self, device: str, module: Any) -> None:
        """One that is loaded already: the next instance on that device takes it."""
        self._kept[device] = module

    def take(self, device: str) -> Any:
        """The module of a further instance on the device."""
        with self._lock:
            found = self._kept.get(device) if self._shared else self._kept.pop(device, None)
            if found is None:
                found = self._make(device)
                if self._shared:
                    self._kept[device] = found
            return found

    def close(self) -> None:
        """Let go of those that are kept."""
        self._kept.clear()
