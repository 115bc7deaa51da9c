"""The rows that the page shows of a server's models: pure functions of what was read."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from atoll.frontends.dashboard.concerns import Level, concern, level_of
from atoll.frontends.dashboard.readings import Reading, key_of
from atoll.frontends.dashboard.window import Window, batch_sizes, compute_ns, mean_batch, window
from atoll.models.index import IndexEntry
from atoll.observability.statistics.distribution import Distribution
from atoll.observability.statistics.model import ModelStatistics

MAX_TEXT: Final = 2000  # characters of a reason: one that a model's code chose may have any number
MAX_FAILURES: Final = 50  # kinds of refusals and failures of a model that are told apart

Row: TypeAlias = dict[str, Any]
"""Of one model version."""


def rows(reading: Reading) -> Iterator[Row]:
    """One for each model version, one by one, as each takes some ten microseconds; in no order."""
    states = {(entry.name, entry.version): entry for entry in reading.states if entry.state}
    served = {one.name for one in reading.statistics}
    shown = set()
    for one in reading.statistics:
        shown.add((one.name, one.version))
        entry = states.get((one.name, one.version)) or IndexEntry(one.name, one.version, "READY")
        yield _row(reading, entry, one, reading.failures.get(one.name, ""))
    for key, entry in states.items():
        if key not in shown:
            failure = "" if entry.name in served else reading.failures.get(entry.name, "")
            yield _row(reading, entry, None, failure)


def ordered(found: Iterable[Row]) -> list[Row]:
    """What somebody must look at first, and the rest by name."""
    return sorted(found, key=lambda row: (row["level"], row["name"], int(row["version"] or 0)))


def _row(reading: Reading, entry: IndexEntry, one: ModelStatistics | None, failure: str) -> Row:
    lately = None
    if one is not None and reading.window_s is not None:
        lately = window(one, reading.earlier.get(key_of(one)), reading.window_s)
    pending = 0 if one is None else one.pending_request_count
    level = level_of(entry, failure, lately, pending)
    row: Row = {
        "name": entry.name,
        "version": entry.version,
        "namespace": "" if one is None else one.labels.get("namespace", ""),
        "state": entry.state,
        "reason": (entry.reason or failure)[:MAX_TEXT] if level is Level.FAILED else entry.reason[:MAX_TEXT],
        "level": level.value,
        "concern": concern(level, lately, pending),
        "lately": None if lately is None else _lately(lately),
        "total": None,
        "memory": reading.memory.get((entry.name, entry.version)),
    }
    if one is not None:
        row |= {
            "pending": pending,
            "in_flight": one.in_flight_request_count,
            "total": _total(one),
        }
    return row


def _lately(one: Window) -> Row:
    spent = one.queue_ns + one.compute_ns if one.executions else 0  # what the cache answers has been in no queue
    return {
        "rate": one.succeeded / one.seconds,
        "requests": one.succeeded,
        "failing": sum(one.own_failures.values()) / one.seconds,
        "refusing": sum(one.refusals.values()) / one.seconds,
        **_percentiles(one.durations),
        "queue_part": one.queue_ns / spent if spent else None,
        "batch": mean_batch(one.batches),
        "hit_part": one.hits / one.succeeded if one.succeeded else None,
        "batches": batch_groups(one.batches),
    }


def _total(one: ModelStatistics) -> Row:
    requests = one.success.count
    return {
        "requests": requests,
        "failures": _some(one.failures),
        "refusals": _some(one.refusals),
        **_percentiles(one.request_durations),
        "queue_ms": one.queue.ns / requests / 1e6 if requests else None,
        "compute_ms": compute_ns(one) / one.compute_infer.count / 1e6 if one.compute_infer.count else None,
        "executions": one.execution_count,
        "batch": mean_batch(batch_sizes(one)),
        "batches": batch_groups(batch_sizes(one)),
        "cached": one.cached,
        "hits": one.cache_hit.count,
        "misses": one.cache_miss.count,
        "load_s": one.load_ns / 1e9 if one.load_ns else None,
        "last_ms": one.last_inference_ms,
    }


def _percentiles(durations: Distribution) -> Row:
    """In milliseconds, None where there were no requests."""
    if not any(durations.counts):
        return {"p50": None, "p95": None, "p99": None}
    p50, p95, p99 = durations.quantiles((0.5, 0.95, 0.99))
    return {"p50": p50 / 1e6, "p95": p95 / 1e6, "p99": p99 / 1e6}


def batch_groups(batches: Mapping[int, int]) -> list[tuple[str, int]]:
    """Executions by groups of batch sizes, each up to a power of two, from the smallest that occurs to the largest."""
    if not batches:
        return []
    groups = {size: max(size - 1, 0).bit_length() for size in batches}
    counts = dict.fromkeys(range(min(groups.values()), max(groups.values()) + 1), 0)
    for size, count in batches.items():
        counts[groups[size]] += count
    return [(_group_name(group), count) for group, count in counts.items()]


def _group_name(group: int) -> str:
    low, high = (1 << group) // 2 + 1, 1 << group
    return str(high) if low >= high else f"{low}-{high}"


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return dict([(reason, count) for reason, count in counts.items() if count][:MAX_FAILURES])
