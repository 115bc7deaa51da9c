"""What a model reads whose request to another model was refused, in the real server's words.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

from atoll.errors import AtollError, NotFoundError, OverloadedError, UnavailableError


def refusal_text(model_name: str, error: AtollError) -> str:
    """Of a request that no model has seen."""
    text = str(error)
    if isinstance(error, (NotFoundError, UnavailableError)) and not isinstance(error, OverloadedError):
        text = f"Failed for execute the inference request. Model '{model_name}' is not ready."
    return f"Model {model_name} - Error when running inference: {text}"
