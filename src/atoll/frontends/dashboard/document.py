"""The document at /dashboard/data: what of a sample somebody may see, and no more than fits an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atoll.config.metadata import ServerMetadata
from atoll.frontends.access.keys import ApiKey
from atoll.frontends.dashboard.concerns import Level
from atoll.frontends.dashboard.readings import Row, errors_shown, machine_shown
from atoll.frontends.dashboard.sampler import Sample

MAX_MODELS: Final = 1000  # versions in an answer, which is about 600 bytes for each
MAX_ERRORS: Final = 50


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


def document(sample: Sample, server: ServerMetadata, viewer: Viewer = EVERYBODY, most: int = MAX_MODELS) -> Row:
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
        "machine": None if limited else machine_shown(sample.machine),
        "errors": errors_shown(errors, MAX_ERRORS),
    }


def _control(viewer: Viewer) -> Mapping[str, Any]:
    return {"explicit": viewer.explicit, "allowed": viewer.may_control, "header": viewer.control_header}


def _without_reason(row: Row) -> Row:
    """Why a model failed is what the repository's index says: it takes the same secret."""
    return {**row, "reason": ""} if row["reason"] else row


def _totals(found: Sequence[Row]) -> Row:
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
