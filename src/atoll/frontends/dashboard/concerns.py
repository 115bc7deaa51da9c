"""What about a model somebody should look at, and how urgent that is: the words at the top of the page."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from atoll.errors import Code
from atoll.frontends.dashboard.window import Window, mean_batch
from atoll.models.index import IndexEntry
from atoll.models.lifecycle import ModelState
from atoll.models.record import ASLEEP, UNLOADED

QUEUE_PART: Final = 0.5  # of a request's time: beyond it most of the time is spent in waiting
MIN_REQUESTS: Final = 10  # that say something about where the time goes
MIN_WAITING: Final = 4  # and more than two batches: a batcher lets as many wait on purpose
CLIENTS_FAULT_PART: Final = 0.05  # of a model's requests: somebody's broken client, below that somebody's attempts
_QUIET: Final = frozenset({"", UNLOADED[1], ASLEEP})
_CLIENTS_FAULTS: Final = frozenset({Code.INVALID_ARG.name, Code.NOT_FOUND.name, Code.UNSUPPORTED.name})
_MOST: Final = 4  # reasons that are named


class Level(IntEnum):
    """From what is broken to what nobody needs; models are shown in this order."""

    FAILED = 0  # it is not served, or not as its files say, because something is wrong
    FAILING = 1  # requests fail
    REFUSING = 2  # requests are refused before they are queued
    WAITING = 3  # requests wait longer than they are computed
    CHANGING = 4  # it is being loaded or unloaded
    ACTIVE = 5
    IDLE = 6
    UNLOADED = 7


def level_of(entry: IndexEntry, failure: str, lately: Window | None, pending: int) -> Level:
    """`failure`: why the model failed to load the last time, "" if it did not."""
    if failure or (entry.state == ModelState.UNAVAILABLE.value and entry.reason not in _QUIET):
        return Level.FAILED
    if entry.state == ModelState.UNAVAILABLE.value:
        return Level.UNLOADED
    if lately is not None:
        if sum(lately.own_failures.values()):
            return Level.FAILING
        if _refuses(lately):
            return Level.REFUSING
        if _waits(lately, pending):
            return Level.WAITING
    if entry.state in (ModelState.LOADING.value, ModelState.UNLOADING.value):
        return Level.CHANGING
    if pending or (lately is not None and lately.succeeded):
        return Level.ACTIVE
    return Level.IDLE


def concern(level: Level, lately: Window | None, pending: int) -> str:
    """A sentence on why; "" where there is nothing to say. A failed load is told by the model's reason."""
    if level is Level.FAILED or lately is None:
        return ""
    if level is Level.FAILING:
        failed = lately.own_failures
        of = lately.succeeded + sum(lately.failures.values())
        return f"{sum(failed.values())} of {of} requests failed{_in(lately)}: {_named(failed)}"
    if level is Level.REFUSING:
        count = sum(lately.refusals.values())
        were = "request was" if count == 1 else "requests were"
        return f"{count} {were} refused{_in(lately)}: {_named(lately.refusals)}"
    if level is Level.WAITING:
        return f"Requests spend {_queue_part(lately):.0%} of their time in the queue, where {pending} are waiting now"
    return ""


def _refuses(lately: Window) -> bool:
    refused = sum(lately.refusals.values())
    own = sum(count for reason, count in lately.refusals.items() if reason not in _CLIENTS_FAULTS)
    return own > 0 or refused > CLIENTS_FAULT_PART * (lately.succeeded + refused)


def _waits(lately: Window, pending: int) -> bool:
    batch = mean_batch(lately.batches) or 1
    return (
        lately.succeeded >= MIN_REQUESTS
        and pending >= MIN_WAITING
        and pending > 2 * batch
        and _queue_part(lately) > QUEUE_PART
    )


def _queue_part(lately: Window) -> float:
    return lately.queue_ns / max(lately.queue_ns + lately.compute_ns, 1)


def _in(lately: Window) -> str:
    return f" in the last {max(round(lately.seconds), 1)} s"


def _named(reasons: Mapping[str, int]) -> str:
    most = sorted(reasons.items(), key=lambda one: -one[1])[:_MOST]
    return ", ".join(f"{reason} {count}" for reason, count in most)
