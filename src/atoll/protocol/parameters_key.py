"""By what the encoded form of an answer's parameters is remembered."""

from collections.abc import Mapping
from typing import TypeAlias

from atoll.request import Parameter

ParametersKey: TypeAlias = tuple[tuple[str, type, Parameter], ...]


def parameters_key(parameters: Mapping[str, Parameter]) -> ParametersKey:
    """Equal for parameters whose encoded forms are: True is not 1, and 0.0 is not -0.0."""
    return tuple(
        [(name, type(one), repr(one) if type(one) is float else one) for name, one in parameters.items()],
    )
