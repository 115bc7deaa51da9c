"""How much memory models may take, and which of them make room for another. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from atoll.config.byte_size import parse_byte_size
from atoll.errors import InvalidArgumentError

_PERCENTAGE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*%", re.ASCII)


def parse_budget(text: str, machine_bytes: int) -> int:
    """The bytes that `--model-memory-budget` means: "4294967296", "4GiB" or "50%" of the machine's.

    Raises InvalidArgumentError for anything else, and for a percentage where the machine's memory is not known.
    """
    share = _PERCENTAGE.fullmatch(text.strip())
    if share is not None:
        if not machine_bytes:
            raise InvalidArgumentError(
                f"--model-memory-budget={text}: this machine does not say how much memory it has; give bytes instead"
            )
        if 0 < float(share[1]) <= 100:
            return int(machine_bytes * float(share[1]) / 100)
    size = parse_byte_size(text)
    if size:
        return size
    raise InvalidArgumentError(
        f"--model-memory-budget={text}: expected bytes (4294967296), a size (4GiB) or a percentage of the machine's "
        "memory (50%)"
    )


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory: its measured size, when it was last used, and whether it has requests or sequences."""

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
