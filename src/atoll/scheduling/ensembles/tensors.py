"""What becomes of a tensor's shape on its way into a step's model, out of an ensemble, or into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from atoll.tensor import Tensor


class Fit(Enum):
    """What to do where a tensor goes from where there is a batch dimension to where there is none, or back."""

    AS_IS = 0
    ADD_BATCH = 1
    DROP_BATCH = 2


@dataclass(frozen=True, slots=True)
class Reshape:
    """From these dims to those, as a configuration's `reshape` says; the batch dimension, if there is one, stays."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    batched: bool

    def apply(self, value: Tensor) -> Tensor:
        """The same data in the other shape; as it is where it has not the shape that it should have."""
        head, item = (value.shape[:1], value.shape[1:]) if self.batched else ((), value.shape)
        if not _matches(item, self.before):
            return value
        variable = iter([size for size, dim in zip(item, self.before, strict=True) if dim < 0])
        return value.reshaped(value.name, (*head, *(next(variable) if dim < 0 else dim for dim in self.after)))


@dataclass(frozen=True, slots=True)
class Taking:
    """A tensor, and what it becomes: an input of a step's model, or an output of the ensemble.

    `dims` are those that are expected there, without the batch dimension. `shared`: the one value that the tensor has
    is for all the values that others have.
    """

    name: str
    tensor: int
    dims: tuple[int, ...] = ()
    fit: Fit = Fit.AS_IS
    optional: bool = False
    shared: bool = False
    reshape: Reshape | None = None

    def take(self, value: Tensor) -> Tensor:
        """The same data, as it is expected."""
        fitted = value.renamed(self.name) if self.fit is Fit.AS_IS else self._fitted(value)
        return fitted if self.reshape is None else self.reshape.apply(fitted)

    def _fitted(self, value: Tensor) -> Tensor:
        shape = value.shape
        if self.fit is Fit.ADD_BATCH and _matches(shape, self.dims):
            return value.reshaped(self.name, (1, *shape))
        if self.fit is Fit.DROP_BATCH and shape[:1] == (1,) and _matches(shape[1:], self.dims):
            return value.reshaped(self.name, shape[1:])
        return value.renamed(self.name)


def _matches(shape: Sequence[int], dims: Sequence[int]) -> bool:
    return len(shape) == len(dims) and all(dim in (-1, size) for size, dim in zip(shape, dims, strict=True))
