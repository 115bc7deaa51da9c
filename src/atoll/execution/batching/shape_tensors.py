"""Shape tensors: one for the whole batch, without a batch dimension; a scheduler joins requests where they are equal.
Pure.
"""

from collections.abc import Sequence

from atoll.errors import InternalError
from atoll.execution.batching.plan import HostMemory, TensorPlan
from atoll.execution.batching.splitting import checked_output
from atoll.request import InferenceRequest
from atoll.tensor import Array


class CommonInput:
    """A shape tensor of the batch's requests: that of the first, as they all have the same."""

    def __init__(self, plan: TensorPlan):
        self._name = plan.name

    def make(self, requests: Sequence[InferenceRequest], memory: HostMemory | None, inputs: dict[str, Array]) -> None:
        """As `InputMaker.make`."""
        real = next((one for one in requests if not one.filler), requests[0])  # an empty slot's says nothing
        tensor = real.inputs.get(self._name)
        if tensor is not None:
            inputs[self._name] = tensor.array()


class CommonOutput:
    """A shape tensor that the model returns for the whole batch: each request gets it."""

    def __init__(self, plan: TensorPlan, model_name: str):
        self._plan = plan
        self._model_name = model_name

    def cut(self, array: Array, requests: Sequence[InferenceRequest], size: int) -> list[Array]:
        """As `OutputCutter.cut`."""
        array = checked_output(array, self._plan, False, size, self._model_name)
        if array.ndim > 1:
            raise InternalError(
                f"output '{self._plan.name}' of model '{self._model_name}' has shape {list(array.shape)}, but a shape "
                "tensor has at most one dimension"
            )
        return [array] * len(requests)
