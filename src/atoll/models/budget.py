"""How much memory models may take, and which of them make room for another. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from atoll.errors import InvalidArgumentError

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_UNITS |= {
    "K": 1 << 10,
    "M": 1 << 20,
    "G": 1 << 30,
    "T": 1 << 40,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*|%)", re.ASCII)


def parse_budget(text: str, machine_bytes: int) -> int:
    """The bytes that `--model-memory-budget` means: "4294967296", "4GiB" or "50%" of the machine's.

    Raises InvalidArgumentError for anything else, and for a percentage where the machine's memory is not known.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is not None and found[2] == "%":
        if not machine_bytes:
            raise InvalidArgumentError(
                f"--model-memory-budget={text}: this machine does not say how much memory it has; give bytes instead"
            )
        if 0 < float(found[1]) <= 100:
            return int(machine_bytes * float(found[1]) / 100)
    elif found is not None and found[2].upper() in _UNITS:
        size = int(float(found[1]) * _UNITS[found[2].upper()])
        if size > 0:
            return size
    raise InvalidArgumentError(
        f"--model-memory-budget={text}: expected bytes (4294967296), a size (4GiB) or a percentage of the machine's "
        "memory (50%)"
    )


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory: its measured size, when it was last used, and whether a request is queued or executing."""

    name: str
    byte_size: int
    last_used_ns: int
    busy: bool


def choose_victims(residents: Iterable[Resident], needed: int, budget: int) -> list[str] | None:
    """The models to unload, least recently used first, so that `needed` more bytes fit into the budget.

    A busy one is never among them. None when even without all idle ones there is no room.
    """
    residents = list(residents)
    excess = sum(one.byte_size for one in residents) + needed - budget
    victims: list[str] = []
    for one in sorted(residents, key=lambda resident: resident.last_used_ns):
        if excess <= 0:
            break
        if not one.busy and one.byte_size > 0:
            victims.append(one.name)
            excess -= one.byte_size
    return victims if excess <= 0 else None
