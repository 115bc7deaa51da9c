"""Ragged batches: inputs of any shape as one flat tensor, what the model needs to find each in it, and outputs cut by
the shapes of inputs. Pure.

The kinds and their shapes are Triton's: `batch_input` and `batch_output` of a configuration with `allow_ragged_batch`.
"""

from collections.abc import Sequence

import numpy as np

from atoll.config.model_config import BatchInput, BatchOutput
from atoll.errors import InternalError, InvalidArgumentError
from atoll.execution.batching.joining import join_tensors, reshaped, seen_shape, with_shape
from atoll.execution.batching.plan import HostMemory, TensorPlan
from atoll.execution.batching.splitting import checked_type
from atoll.request import InferenceRequest
from atoll.tensor import Array, element_count


class FlatInput:
    """A ragged input: the elements of all requests behind each other, in one dimension."""

    def __init__(self, plan: TensorPlan):
        self._plan = plan

    def make(self, requests: Sequence[InferenceRequest], memory: HostMemory | None, inputs: dict[str, Array]) -> None:
        """As `InputMaker.make`; of shape [elements of all requests]."""
        name = self._plan.name
        if name not in requests[0].inputs:
            return
        tensors = [request.inputs[name] for request in requests]
        tensors = [with_shape(one, (element_count(one.shape),)) for one in tensors]
        if len(tensors) == 1:
            inputs[name] = tensors[0].array()
            return
        shape = (sum([tensor.shape[0] for tensor in tensors]),)
        inputs[name] = join_tensors(tensors, shape, self._plan.datatype, memory)


class ShapeInput:
    """A `batch_input`: what the model is told of the shapes that an input has in the requests of a batch."""

    def __init__(self, batch_input: BatchInput, source: TensorPlan, batched: bool):
        self._kind = batch_input.kind
        self._targets = batch_input.target_name
        self._dtype = batch_input.data_type.dtype
        self._source = source
        self._batched = batched

    def make(self, requests: Sequence[InferenceRequest], memory: HostMemory | None, inputs: dict[str, Array]) -> None:
        """As `InputMaker.make`. A request counts as one, however many items it has; ITEM_SHAPE alone goes by items.

        [requests] element counts, or their running sum; [requests + 1] with a zero in front; [largest element count],
        all zeros; [items, dims], or [items * dims], shapes.
        """
        source = self._source
        if source.name not in requests[0].inputs:
            return
        shapes = [seen_shape(request.inputs[source.name].shape, source, self._batched) for request in requests]
        try:
            made = self._made(shapes)
        except OverflowError:
            raise InvalidArgumentError(
                f"input '{source.name}' has too many elements to be counted in {', '.join(self._targets)}, of type "
                f"{self._dtype}"
            ) from None
        for target in self._targets:
            inputs[target] = made

    def _made(self, shapes: Sequence[tuple[int, ...]]) -> Array:
        kind = self._kind
        if kind in (BatchInput.Kind.BATCH_ITEM_SHAPE, BatchInput.Kind.BATCH_ITEM_SHAPE_FLATTEN):
            items: list[tuple[int, ...]] = []
            for shape in shapes:
                items += [shape[1:]] * shape[0] if self._batched else [shape]
            made = np.array(items, self._dtype).reshape(len(items), len(shapes[0]) - self._batched)
            return made if kind is BatchInput.Kind.BATCH_ITEM_SHAPE else made.reshape(-1)
        counts = [element_count(shape) for shape in shapes]
        if kind is BatchInput.Kind.BATCH_MAX_ELEMENT_COUNT_AS_SHAPE:
            return np.zeros(max(counts), self._dtype)
        if kind is BatchInput.Kind.BATCH_ELEMENT_COUNT:
            return np.array(counts, self._dtype)
        sums = [0]
        for count in counts:
            sums.append(sums[-1] + count)
        zero = kind is BatchInput.Kind.BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO
        return np.array(sums if zero else sums[1:], self._dtype)


class ScatteredOutput:
    """A `batch_output`: each request's share has the shape of its input, where the output's dims are -1.

    Dimensions correspond by their place, as in Triton, and the shares lie behind each other in what the model returns,
    whatever shape that has.
    """

    def __init__(
        self, batch_output: BatchOutput, output: TensorPlan, source: TensorPlan, model_name: str, batched: bool
    ):
        assert batch_output.kind is BatchOutput.Kind.BATCH_SCATTER_WITH_INPUT_SHAPE
        self._output = output
        self._source = source
        self._model_name = model_name
        self._batched = batched
        dims = output.dims if output.reshape is None else output.reshape
        self._shape = (-1, *dims) if batched else dims

    def cut(self, array: Array, requests: Sequence[InferenceRequest], size: int) -> list[Array]:
        """As `OutputCutter.cut`."""
        checked_type(array, self._output, self._model_name)
        shapes = [self._share(request) for request in requests]
        counts = [element_count(shape) for shape in shapes]
        if sum(counts) != array.size:
            raise InternalError(
                f"output '{self._output.name}' of model '{self._model_name}' has {array.size} elements, but cut by the "
                f"shapes of input '{self._source.name}' the requests of this batch get {sum(counts)}"
            )
        flat = array.reshape(-1)
        parts = []
        start = 0
        for shape, count in zip(shapes, counts, strict=True):
            part = flat[start : start + count].reshape(shape)
            start += count
            if self._output.reshape is not None:
                part = reshaped(part, self._output.reshape, self._output.dims, self._batched)
            parts.append(part)
        return parts

    def _share(self, request: InferenceRequest) -> tuple[int, ...]:
        tensor = request.inputs.get(self._source.name)
        if tensor is None:
            raise InvalidArgumentError(
                f"output '{self._output.name}' of model '{self._model_name}' is cut by the shape of input "
                f"'{self._source.name}', which the request leaves out"
            )
        shape = seen_shape(tensor.shape, self._source, self._batched)
        return tuple([shape[place] if dim < 0 else dim for place, dim in enumerate(self._shape)])
