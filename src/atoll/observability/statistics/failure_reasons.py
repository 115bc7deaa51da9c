"""Why a request failed, in the few words by which failures are counted: those of tritonserver's metrics."""

from typing import Final

from atoll.errors import CancelledError, Code

FAILURE_REASONS: Final = ("REJECTED", "CANCELED", "BACKEND", "OTHER")


def failure_reason(error: Exception, executed: bool) -> str:
    """The `reason` label of nv_inference_request_failure."""
    if isinstance(error, CancelledError):
        return "CANCELED"
    if executed:
        return "BACKEND"
    return "REJECTED" if getattr(error, "code", None) is Code.UNAVAILABLE else "OTHER"
