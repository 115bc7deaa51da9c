"""Who may execute next where instances share resources that are scarce: the decisions of the rate limiter.

An instance names what it needs of each resource and has a priority. Those that wait stand in the order of their turns:
each execution puts an instance's next turn `priority` further away, so that with priority 2 it has half as many turns
as with 1. A turn that passed while its instance had nothing to do is not made up for. Who is first and finds too little
keeps what is left from those behind: nobody who needs much is starved by those who need little, and who needs other
things goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

GLOBAL: Final = -1  # in the place of a device: the resource is one for all of them

Key = tuple[str, int]  # a resource's name, and the device that has it, or GLOBAL


@dataclass(frozen=True, slots=True)
class Supply:
    """How much there is of a resource: `device` None is for every device, and for one that all devices share."""

    name: str
    count: int
    device: int | None = None


class Stand(Enum):
    """What a claim is doing. Only one that HOLDS has resources."""

    AWAY = 0
    WAITS = 1
    HOLDS = 2


@dataclass(slots=True, eq=False)
class Claim:
    """An instance's: what it needs for one execution, and when its next turn is. Only a Resources changes it."""

    needs: Mapping[Key, int]
    priority: int
    turn: int = 0
    stand: Stand = field(default=Stand.AWAY)
    came: int = 0  # orders those whose turn is the same


class UnmetNeedError(ValueError):
    """What a claim needs can never be had: the text is the real server's (2.51)."""


class Resources:
    """What there is, who holds it and who waits for it. Not thread-safe.

    `supplies`: what an operator says there is; a resource that nobody names is then not there at all. None: of each
    resource as much as the claim needs that needs most of it.
    """

    def __init__(self, supplies: Sequence[Supply] | None = None):
        self._supplies = supplies
        self._claims: set[Claim] = set()
        self._waiting: list[Claim] = []
        self._held: dict[Key, int] = {}
        self._limits: dict[Key, int] = {}
        self._now = 0  # the turn that was last granted
        self._comers = 0

    # ---- who takes part

    def add(self, claim: Claim) -> None:
        """From now on it may ask. Raises UnmetNeedError, and changes nothing, where it could never be granted."""
        others = {key for one in self._claims for key in one.needs}
        for name, device in claim.needs:
            if any(other == name and (at == GLOBAL) != (device == GLOBAL) for other, at in {*others, *claim.needs}):
                raise UnmetNeedError(
                    f'Resource "{name}" is present as both global and device-specific resource in the model '
                    "configuration."
                )
        for key, count in claim.needs.items():
            limit = self._supply(key)
            if limit is not None and count > limit:
                raise UnmetNeedError(
                    f'Resource count for "{key[0]}" is limited to {limit} which will prevent scheduling of one or more '
                    f"model instances, the minimum required count is {count}"
                )
        self._claims.add(claim)
        self._measure()

    def remove(self, claim: Claim) -> list[Claim]:
        """It takes part no more, and gives back what it holds; returns those that may execute now."""
        if claim not in self._claims:
            return []
        self._leave(claim)
        self._claims.discard(claim)
        self._measure()
        return self._grant()

    def _supply(self, key: Key) -> int | None:
        """How much an operator says there is; None: nobody has said anything."""
        if self._supplies is None:
            return None
        name, device = key
        return max(
            (
                one.count
                for one in self._supplies
                if one.name == name and (device == GLOBAL or one.device in (None, device))
            ),
            default=0,
        )

    def _measure(self) -> None:
        self._limits = {}
        for claim in self._claims:
            for key, count in claim.needs.items():
                supply = self._supply(key)
                self._limits[key] = max(self._limits.get(key, 0), count) if supply is None else supply

    # ---- turns

    def ask(self, claim: Claim) -> list[Claim]:
        """It would execute: it waits from now on, unless it does already, or holds what it needs. Returns those that
        may execute now; it may be one of them.
        """
        if claim.stand is not Stand.AWAY or claim not in self._claims:
            return []
        self._queue(claim)
        return self._grant()

    def give_back(self, claim: Claim) -> list[Claim]:
        """It does not execute, and does not wait: the turn is not counted. Returns those that may execute now."""
        if claim.stand is Stand.AWAY:
            return []
        self._leave(claim)
        return self._grant()

    def executed(self, claim: Claim, again: bool) -> list[Claim]:
        """It has executed, and would do so `again`. Returns those that may execute now; it may be one of them."""
        if claim.stand is not Stand.HOLDS:
            return []
        self._leave(claim)
        claim.turn += max(claim.priority, 1)
        if again:
            self._queue(claim)
        return self._grant()

    def _queue(self, claim: Claim) -> None:
        claim.turn = max(claim.turn, self._now)
        self._comers += 1
        claim.came = self._comers
        claim.stand = Stand.WAITS
        self._waiting.append(claim)

    def _leave(self, claim: Claim) -> None:
        if claim.stand is Stand.WAITS:
            self._waiting.remove(claim)
        elif claim.stand is Stand.HOLDS:
            for key, count in claim.needs.items():
                left = self._held.get(key, 0) - count
                if left:
                    self._held[key] = left
                else:
                    self._held.pop(key, None)
        claim.stand = Stand.AWAY

    def _grant(self) -> list[Claim]:
        """Everybody who can have what they need now, in the order of their turns."""
        if not self._waiting:
            return []
        granted: list[Claim] = []
        kept: dict[Key, int] = {}  # for those in front, who find too little
        self._waiting.sort(key=lambda claim: (claim.turn, claim.came))
        for claim in self._waiting:
            if all(
                not count or self._held.get(key, 0) + kept.get(key, 0) + count <= self._limits[key]
                for key, count in claim.needs.items()
            ):
                for key, count in claim.needs.items():
                    self._held[key] = self._held.get(key, 0) + count
                claim.stand = Stand.HOLDS
                self._now = max(self._now, claim.turn)
                granted.append(claim)
            else:
                for key, count in claim.needs.items():
                    kept[key] = kept.get(key, 0) + count
        if granted:
            self._waiting = [claim for claim in self._waiting if claim.stand is Stand.WAITS]
        return granted

    # ---- what it says of itself

    def limit(self, key: Key) -> int:
        """How much there is, for those that take part."""
        return self._limits.get(key, 0)

    def held(self, key: Key) -> int:
        """How much of it is in use."""
        return self._held.get(key, 0)
