"""The parameters of a request or response: what a model may put there."""

from __future__ import annotations

from typing import Any, TypeAlias

from atoll.backends.python.utils.errors import TritonModelException

Parameter: TypeAlias = "bool | int | float | str"


def checked_parameters(parameters: Any, *, floats: bool) -> dict[str, Any]:
    """A copy of the parameters. Raises TritonModelException where they are no dict, or a key or value has a type that
    parameters do not have.
    """
    if not isinstance(parameters, dict):
        raise TritonModelException(f"Expect dict, got {type(parameters)}")
    values = (bool, int, float, str) if floats else (bool, int, str)
    for key, value in parameters.items():
        if not isinstance(key, str):
            raise TritonModelException(f"Expect parameters keys to have type str, found type {type(key)}")
        if type(value) not in values:
            raise TritonModelException(
                f"Expect parameters values to have type {'bool/int/float/str' if floats else 'bool/int/str'}, "
                f"found type {type(value)}"
            )
    return dict(parameters)
