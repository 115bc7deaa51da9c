"""What all models of the three libraries are to the rest of the backend: functions from rows to numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from atoll.backends.error_text import bounded
from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.tensor import Array

PREDICT = "predict"
PROBABILITIES = "predict_proba"
DECISION = "decision_function"
TRANSFORM = "transform"
VALUES = "value"  # what the library's own prediction gives
MARGIN = "margin"
LEAVES = "leaf"
CONTRIBUTIONS = "contributions"

Method = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """A loaded model. `methods` take rows, an array of [batch, features] or a table with named columns, and give an
    array whose first dimension is the batch; they may run at once in several threads.

    `features` is 0 where the model does not say how many it has, and `names` are those of its columns, if they have
    any. `of_numbers`: rows can hold nothing else. `bounded`: see `atoll.backends.api.Capabilities`.
    `classes`: the labels between which it decides, where it does.
    """

    library: str
    methods: Mapping[str, Method]
    features: int = 0
    names: tuple[str, ...] = ()
    of_numbers: bool = True
    bounded: bool = False
    classes: Array | None = None


def error_text(error: BaseException) -> str:
    """An exception's text without a native stack, never a long one."""
    return bounded(str(error).partition("\nStack trace:")[0].strip() or type(error).__name__)


def execution_error(library: str, error: Exception) -> AtollError:
    """What a request gets whose batch failed: of values that the model refuses, it is the request's own fault."""
    if isinstance(error, AtollError):
        return error
    text = f"{library} error: {error_text(error)}"
    if isinstance(error, ValueError) or "Input data contains" in text:
        return InvalidArgumentError(text)
    return InternalError(text)
