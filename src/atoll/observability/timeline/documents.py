"""Traces and sums as JSON documents: the facts that are drawn, for programs."""

from typing import Any

from atoll.observability.timeline.requests import Stage, TracedRequest, TraceTree
from atoll.observability.timeline.summary import QUANTILES, ModelSummary


def trace_document(trace: TraceTree) -> dict[str, Any]:
    """A client's request; those made for it stand in `requests`, behind it, with the depth at which they are drawn.
    Moments and durations are nanoseconds.
    """
    document: dict[str, Any] = {"file": trace.file, "id": trace.root.id}
    document["requests"] = [{"depth": depth, **_request(one)} for depth, one in trace.requests]
    if trace.problems:
        document["problems"] = list(trace.problems)
    return document


def _request(request: TracedRequest) -> dict[str, Any]:
    document: dict[str, Any] = {"id": request.id}
    if request.parent:
        document["parent_id"] = request.parent
    for name in ("model", "version", "request_id", "trace_id"):
        if value := getattr(request, name):
            document[name] = value
    document |= {"start_ns": request.start_ns, "duration_ns": request.duration_ns}
    document["stages"] = [_stage(one) for one in request.stages]
    if request.spans:
        document["spans"] = [_stage(one) for one in request.spans]
    if request.marks:
        document["marks"] = [{"name": one.name, "ns": one.ns} for one in request.marks]
    if request.tensors:
        document["tensors"] = [one._asdict() for one in request.tensors]
    if request.problems:
        document["problems"] = list(request.problems)
    return document


def _stage(stage: Stage) -> dict[str, Any]:
    return {"name": stage.name, "start_ns": stage.start_ns, "duration_ns": stage.duration_ns}


def summary_document(summary: ModelSummary) -> dict[str, Any]:
    """One model's version; of each stage how many there were, their mean and percentiles, in nanoseconds."""
    return {
        "model": summary.model,
        "version": summary.version,
        "stages": {
            name: {
                "count": one.count,
                "mean_ns": one.mean,
                **{f"p{round(100 * part)}_ns": one.quantile(part) for part in QUANTILES},
            }
            for name, one in summary.stages.items()
        },
    }
