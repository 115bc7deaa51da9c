"""The document at /dashboard/data: what of a sample somebody may see, and no more than fits an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from atoll.config.metadata import ServerMetadata
from atoll.frontends.access.keys import ApiKey
from atoll.frontends.dashboard.concerns import Level
from atoll.frontends.dashboard.readings import MachineReading
from atoll.frontends.dashboard.rows import Row
from atoll.frontends.dashboard.sampler import Sample
from atoll.observability.statistics.recent_errors import RecentError

MAX_MODELS: Final = 1000  # versions in an answer, which is about 600 bytes for each
MAX_ERRORS: Final = 50

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks. `key`: None where none is asked for. `explicit`: models are loaded and unloaded by who asks for it;
    `may_control`: this one may; `control_header`: the header that is missing for it, where that API is restricted.
    """

    key: ApiKey | None = None
    explicit: bool = False
    may_control: bool = True
    control_header: str = ""


EVERYBODY: Final = Viewer()


def document(sample: Sample, server: ServerMetadata, viewer: Viewer = EVERYBODY, most: int = MAX_MODELS) -> Document:
    """What the page shows. Where a key is for some models only, nothing of the others and of the machine is in it."""
    key = viewer.key
    found, errors = sample.rows, sample.errors
    limited = key is not None and key.limited_to_models
    if key is not None and limited:
        found = [row for row in found if key.may_use(row["name"])]
        errors = [one for one in errors if key.may_use(one.model)]
    shown = found[:most]
    return {
        "server": {
            "name": server.name,
            "version": server.version,
            "ready": sample.ready,
            "up_s": sample.up_s,
        },
        "control": _control(viewer),
        "window_s": sample.window_s,
        "totals": _totals(found),
        "models": [_without_reason(row) for row in shown] if viewer.control_header else shown,
        "left_out": len(found) - len(shown),
        "machine": None if limited else _machine(sample.machine),
        "errors": _errors(errors, MAX_ERRORS),
    }


def _control(viewer: Viewer) -> Document:
    return {"explicit": viewer.explicit, "allowed": viewer.may_control, "header": viewer.control_header}


def _without_reason(row: Row) -> Row:
    """Why a model failed is what the repository's index says: it takes the same secret."""
    return {**row, "reason": ""} if row["reason"] else row


def _totals(found: Sequence[Row]) -> Document:
    served = [row for row in found if row["total"] is not None]
    lately = [row["lately"] for row in served if row["lately"] is not None]
    return {
        "versions": len(found),
        "ready": sum(row["state"] == "READY" for row in found),
        "failed": sum(row["level"] == Level.FAILED for row in found),
        "rate": sum(one["rate"] for one in lately) if lately else None,
        "failing": sum(one["failing"] + one["refusing"] for one in lately) if lately else None,
        "pending": sum(row["pending"] for row in served),
        "in_flight": sum(row["in_flight"] for row in served),
    }


def _errors(errors: Sequence[RecentError], most: int) -> list[Document]:
    """The newest ones."""
    return [
        {
            "time_s": one.time_s,
            "model": one.model,
            "version": one.version,
            "request_id": one.request_id,
            "reason": one.reason,
            "text": one.text,
        }
        for one in errors[:most]
    ]


def _machine(one: MachineReading) -> Document:
    """All sizes in bytes; what is unknown is None."""
    return {
        "cpu": None if one.cpu is None else one.cpu.utilization,
        "memory_used": None if one.cpu is None else one.cpu.memory_used,
        "memory_total": None if one.cpu is None else one.cpu.memory_total,
        "process_cores": one.cores,
        "process_memory": None if one.process is None else one.process.resident_bytes,
        "pool_used": one.pool_used,
        "pool_total": one.pool_total,
        "cache": None
        if one.cache is None
        else {
            "hits": one.cache.hits,
            "misses": one.cache.misses,
            "utilization": one.cache.utilization,
            "entries": one.cache.entries,
            "evictions": one.cache.evictions,
        },
        "gpus": [
            {
                "number": gpu.number,
                "name": gpu.name,
                "uuid": gpu.uuid,
                "utilization": gpu.utilization,
                "used": gpu.used_bytes,
                "total": gpu.total_bytes,
                "power": gpu.power_watts,
            }
            for gpu in one.gpus
        ],
    }
