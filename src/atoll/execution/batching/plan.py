"""What joining and splitting know of a model: made once, when it is loaded. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from atoll.request import InferenceRequest
from atoll.tensor import Array, DataType


class HostMemory(Protocol):
    """Where joined inputs are put: a HostMemoryPool."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A new array in C order, not initialised."""


class InputMaker(Protocol):
    """Makes inputs of a batch that are more than its requests' items behind each other."""

    def make(self, requests: Sequence[InferenceRequest], memory: HostMemory | None, inputs: dict[str, Array]) -> None:
        """Add them to `inputs`, in the shape that the model sees. What the requests leave out is left out.

        Raises InvalidArgumentError where a request is at fault: each of the batch then runs by itself.
        """


class OutputCutter(Protocol):
    """Cuts an output otherwise than by the number of items of each request."""

    def cut(self, array: Array, requests: Sequence[InferenceRequest], size: int) -> list[Array]:
        """Each request's share of what the model returned for a batch of `size` items, as the client is to see it.

        Raises InternalError where the array is not what the configuration says.
        """


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One input or output as the join and the split see it; dims without the batch dimension.

    `dtype` is what its arrays have; `is_plain`: its shape is fixed and the model's own.
    """

    name: str
    datatype: DataType
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None
    dtype: np.dtype[Any]
    is_plain: bool


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """`inputs` are those that are plainly joined, `makers` make the others; empty for most models.

    `cutters`, empty for most models too, has an entry for each output: None where it is split by items. `reshaped` are
    all inputs of which the model sees another shape, however they are joined.
    """

    model_name: str
    batched: bool
    inputs: tuple[TensorPlan, ...]
    outputs: tuple[TensorPlan, ...]
    output_names: tuple[str, ...]
    makers: tuple[InputMaker, ...] = ()
    cutters: tuple[OutputCutter | None, ...] = ()
    reshaped: tuple[TensorPlan, ...] = ()
