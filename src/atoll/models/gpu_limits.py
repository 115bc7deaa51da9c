"""Which GPUs a server uses and how full they may be: --min-supported-compute-capability, --model-load-gpu-limit."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from atoll.config.model_config import ModelInstanceGroup
from atoll.devices.nvml import GpuFacts, gpu_facts
from atoll.errors import InvalidArgumentError, UnavailableError

Facts = Callable[[int], GpuFacts]
"""Of a GPU by its number. Raises AtollError."""

_LIMIT = re.compile(r"([0-9]{1,4}):([0-9.]+)")


def capable_gpus(numbers: Sequence[int], least: float | None, environment: Mapping[str, str]) -> tuple[int, ...]:
    """Those with at least this compute capability; all of them where none is demanded. Raises AtollError where it
    cannot be known.
    """
    facts = partial(gpu_facts, environment=environment)
    return tuple(one for one in numbers if least is None or facts(one).capability >= least)


class GpuLimits:
    """Refuses instances on GPUs whose memory is in use beyond a fraction. `options`: those of --model-load-gpu-limit,
    DEVICE:FRACTION. Raises InvalidArgumentError where one is malformed.
    """

    def __init__(self, options: Sequence[str], facts: Facts):
        self._facts = facts
        self._limits: dict[int, float] = {}
        for option in options:
            found = _LIMIT.fullmatch(option)
            if found is None or found[2].count(".") > 1 or found[2] == ".":
                raise InvalidArgumentError(
                    f"--model-load-gpu-limit option format is '<device_id>:<fraction>', such as 0:0.8. Got {option}"
                )
            fraction = float(found[2])
            if fraction > 1:
                raise InvalidArgumentError(
                    f"--model-load-gpu-limit={option}: setting model load GPU limit: Invalid argument - expects limit "
                    f"fraction to be in range [0.0, 1.0], got {fraction:f}"
                )
            self._limits[int(found[1])] = fraction

    def check(self, model_name: str, kind: str, number: int) -> None:
        """Before an instance of this kind is made on a device. Raises UnavailableError where it is too full, and
        AtollError where that cannot be known.
        """
        limit = self._limits.get(number)
        if limit is None or kind != ModelInstanceGroup.Kind.KIND_GPU.name:
            return
        facts = self._facts(number)
        used = facts.used_bytes / facts.total_bytes
        if used > limit:
            raise UnavailableError(
                f"can not create model '{model_name}': memory limit set for {kind} {number} has exceeded, model "
                f"loading is rejected. {used:.0%} of its memory is in use, and --model-load-gpu-limit is "
                f"{number}:{limit:g}: unload another model or raise the limit"
            )
