"""Padding: inputs of different lengths filled up to one, the model told how long each is, outputs cut back. Pure.

A model's parameter `padding` asks for it (config/padding.py).
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from atoll.config.padding import Padding, padding_value
from atoll.errors import InternalError, InvalidArgumentError
from atoll.execution.batching.joining import POOLED_BYTES, join_tensors, reshaped
from atoll.execution.batching.plan import HostMemory, TensorPlan
from atoll.execution.batching.splitting import checked_output
from atoll.request import InferenceRequest
from atoll.tensor import Array, DataType, Tensor, element_count

# One request that is much longer than its neighbours must not make a batch that nobody has memory for.
MAX_PADDED_BYTES = 256 << 20
MAX_PADDED_TIMES = 8

Sizes = tuple[int, ...]


class PadInput:
    """A padded input, and the mask and the lengths that go with it. `variable`: how many dimensions vary."""

    def __init__(self, padding: Padding, plan: TensorPlan, batched: bool):
        padded = padding.inputs[plan.name]
        self.name = plan.name
        self._plan = plan
        self._batched = batched
        self._axes = tuple([int(batched) + axis for axis, dim in enumerate(plan.dims) if dim < 0])
        self.variable = len(self._axes)
        self._buckets = padding.buckets(plan.name, plan.dims)
        self._value: Any = padding_value(padded.value, plan.datatype)
        self._mask = None if padded.mask is None else (padded.mask.name, padded.mask.data_type.dtype)
        self._length = None if padded.length is None else (padded.length.name, padded.length.data_type.dtype)
        self._most_told = 0 if self._length is None else _largest_exact(self._length[1])

    def own_sizes(self, request: InferenceRequest) -> Sizes:
        """The variable dimensions of the request's tensor; an empty slot of a batch is all padding."""
        if request.filler:
            return (0,) * self.variable
        shape = request.inputs[self.name].shape
        return tuple([shape[axis] for axis in self._axes])

    def padded_sizes(self, own: Sequence[Sizes]) -> Sizes:
        """What the variable dimensions are padded to in a batch of requests with these."""
        longest = own[0] if len(own) == 1 else tuple(map(max, *own))
        if not self._buckets:
            return longest
        return tuple([bucket(size, buckets) for size, buckets in zip(longest, self._buckets, strict=True)])

    def make(self, requests: Sequence[InferenceRequest], memory: HostMemory | None, inputs: dict[str, Array]) -> None:
        """As `InputMaker.make`. The mask is of shape [items, variable dims...], the lengths of [items], or [items,
        number of variable dims] where there are several; without [items] where the model has no batch dimension.
        """
        if self.name not in requests[0].inputs:
            return
        plan = self._plan
        tensors = [request.inputs[self.name] for request in requests]
        own = [self.own_sizes(request) for request in requests]
        sizes = self.padded_sizes(own)
        if all(one == sizes for one in own) and not any([request.filler for request in requests]):
            array = self._joined(tensors, memory)
        else:
            array = self._padded(tensors, own, sizes, memory)
        inputs[self.name] = array if plan.reshape is None else reshaped(array, plan.dims, plan.reshape, self._batched)
        if self._mask is None and self._length is None:
            return
        lengths = np.array(own)  # [items, variable dims]
        if self._batched:
            lengths = np.repeat(lengths, [tensor.shape[0] for tensor in tensors], axis=0)
        if self._mask is not None:
            name, dtype = self._mask
            mask = _mask(lengths, sizes).astype(dtype)
            inputs[name] = mask if self._batched else mask[0]
        if self._length is not None:
            name, dtype = self._length
            if lengths.size and int(lengths.max()) > self._most_told:
                raise InvalidArgumentError(
                    f"input '{self.name}' has the length {int(lengths.max())}, but input '{name}', which tells the "
                    f"model of it, is of type {dtype}; give it another data_type in the model's parameter 'padding'"
                )
            told = (lengths if self.variable > 1 else lengths[:, 0]).astype(dtype)
            inputs[name] = told if self._batched else told.reshape(told.shape[1:])

    def _joined(self, tensors: Sequence[Tensor], memory: HostMemory | None) -> Array:
        if len(tensors) == 1:
            return tensors[0].array()
        shape = (sum([tensor.shape[0] for tensor in tensors]), *tensors[0].shape[1:])
        return join_tensors(tensors, shape, self._plan.datatype, memory)

    def _padded(
        self, tensors: Sequence[Tensor], own: Sequence[Sizes], sizes: Sizes, memory: HostMemory | None
    ) -> Array:
        shape = list(tensors[0].shape)
        if self._batched:
            shape[0] = sum([tensor.shape[0] for tensor in tensors])
        for axis, size in zip(self._axes, sizes, strict=True):
            shape[axis] = size
        dtype = self._plan.dtype
        # a 0 among them does not make the others harmless
        byte_size = element_count([size or 1 for size in shape]) * dtype.itemsize
        sent = sum([element_count(tensor.shape) for tensor in tensors]) * dtype.itemsize
        if len(tensors) > 1 and byte_size > max(MAX_PADDED_BYTES, MAX_PADDED_TIMES * sent):
            raise InvalidArgumentError(
                f"input '{self.name}' padded to {list(sizes)} would take {byte_size} bytes for {sent} that were sent"
            )  # who runs the batch then runs each request by itself
        pooled = memory is not None and byte_size >= POOLED_BYTES and self._plan.datatype is not DataType.BYTES
        array = memory.empty(tuple(shape), dtype) if memory is not None and pooled else np.empty(shape, dtype)
        array[...] = self._value
        start = 0
        for tensor, one in zip(tensors, own, strict=True):
            within: list[slice] = [slice(None)] * len(shape)
            for axis, size in zip(self._axes, one, strict=True):
                within[axis] = slice(size)
            part = tensor.array()[tuple(within)]  # all of it; of an empty slot's, nothing
            if self._batched:
                within[0] = slice(start, start + tensor.shape[0])
                start += tensor.shape[0]
            array[tuple(within)] = part
        return array


def _largest_exact(dtype: np.dtype[Any]) -> int:
    """Up to which whole number this type holds all of them."""
    if dtype.kind == "b":
        return 1
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else 1 << (np.finfo(dtype).nmant + 1)


def _mask(lengths: Array, sizes: Sizes) -> Array:
    """Where there is data: [items, variable dims...] for lengths of [items, number of variable dims]."""
    if 0 in sizes:  # no element, however long the other dimensions are
        return np.empty((len(lengths), *sizes), np.bool_)
    mask = np.ones((len(lengths), *[1] * len(sizes)), np.bool_)
    for number, size in enumerate(sizes):
        shape = [len(lengths), *[1] * len(sizes)]
        shape[number + 1] = size
        mask = mask & (np.arange(size) < lengths[:, number, None]).reshape(shape)
    return mask


class CutBackOutput:
    """An output of which each request gets as much as it sent. `sources` has for each variable dimension of the output
    the input whose size it has, and the number of that input's variable dimension; None: it stays as it is.
    """

    def __init__(
        self, plan: TensorPlan, sources: Sequence[tuple[PadInput, int] | None], model_name: str, batched: bool
    ):
        self._plan = plan
        self._model_name = model_name
        self._batched = batched
        axes = [int(batched) + axis for axis, dim in enumerate(plan.dims) if dim < 0]
        self._cuts = [(axis, *source) for axis, source in zip(axes, sources, strict=True) if source is not None]

    def cut(self, array: Array, requests: Sequence[InferenceRequest], size: int) -> list[Array]:
        """As `OutputCutter.cut`. A request that leaves the source out (it is optional) gets the dimension whole."""
        array = checked_output(array, self._plan, self._batched, size, self._model_name)
        cuts = []
        for axis, source, number in self._cuts:
            if source.name not in requests[0].inputs:
                continue
            own = [source.own_sizes(request) for request in requests]
            padded = source.padded_sizes(own)[number]
            if array.shape[axis] != padded:
                raise InternalError(
                    f"output '{self._plan.name}' of model '{self._model_name}' has shape {list(array.shape)}, but its "
                    f"dimension {axis} is to be cut back as input '{source.name}' was padded, to {padded}; correct "
                    "'outputs' in the model's parameter 'padding'"
                )
            cuts.append((axis, [one[number] for one in own]))
        parts = []
        start = 0
        for index, request in enumerate(requests):
            within = [slice(None)] * array.ndim
            if self._batched:
                within[0] = slice(start, start + request.batch_size)
                start += request.batch_size
            for axis, lengths in cuts:
                within[axis] = slice(lengths[index])
            parts.append(array[tuple(within)])
        return parts


def bucket(size: int, buckets: Sizes) -> int:
    """The smallest bucket that takes `size`; the largest where none does, which the door has refused."""
    return buckets[min(bisect_left(buckets, size), len(buckets) - 1)]
