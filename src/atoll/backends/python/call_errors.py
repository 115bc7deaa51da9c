"""What a model reads whose request to another model was refused, in the real server's words.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

from atoll.errors import AtollError, InternalError, NotFoundError, UnavailableError


def refusal_text(model_name: str, error: AtollError) -> str:
    """Of a request that no model has seen."""
    if isinstance(error, (NotFoundError, UnavailableError)):
        return f"Failed for execute the inference request. Model '{model_name}' is not ready."
    return f"Model {model_name} - Error when running inference: {error}"


def decoupled_refusal(model_name: str) -> InternalError:
    """Of `exec` without `decoupled=True` on a decoupled model."""
    return InternalError(
        f"Model {model_name} is using the decoupled. The current BLS request call doesn't support models using the "
        "decoupled transaction policy. Please use 'decoupled=True' argument to the 'exec' or 'async_exec' calls for "
        "decoupled models.'"
    )
