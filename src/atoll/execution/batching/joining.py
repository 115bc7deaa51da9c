"""Requests' tensors put behind each other: one copy, whatever form they came in. Pure."""

from collections.abc import Sequence

import numpy as np

from atoll.execution.batching.plan import BatchPlan, HostMemory, TensorPlan
from atoll.request import InferenceRequest
from atoll.tensor import Array, DataType, Tensor, element_count

POOLED_BYTES = 64 << 10  # a smaller input of a batch is joined faster without the pool (docs/decisions/010)
UNLOCKED_BYTES = 1 << 20  # copies from here on let other threads run meanwhile, which costs a few us


def join(requests: Sequence[InferenceRequest], plan: BatchPlan, memory: HostMemory | None = None) -> dict[str, Array]:
    """The batch's inputs as arrays, each request's items behind the one before, and what the plan's makers add.

    A single request's tensors are passed on as they are; several are copied together once, into `memory` where they
    are large. An input that the requests leave out (it is optional) is left out.
    """
    joined: dict[str, Array] = {}
    first = requests[0]
    for one in plan.inputs:
        tensor = first.inputs.get(one.name)
        if tensor is None:
            continue
        if len(requests) == 1:
            array = tensor.array()
        else:
            tensors = [request.inputs[one.name] for request in requests]
            array = join_tensors(
                tensors, (sum([each.shape[0] for each in tensors]), *tensor.shape[1:]), one.datatype, memory
            )
        joined[one.name] = array if one.reshape is None else reshaped(array, one.dims, one.reshape, plan.batched)
    for maker in plan.makers:
        maker.make(requests, memory, joined)
    return joined


def join_tensors(
    tensors: Sequence[Tensor], shape: tuple[int, ...], datatype: DataType, memory: HostMemory | None
) -> Array:
    """Their elements in `shape`; they agree in all dimensions but the first."""
    if datatype is DataType.BYTES:
        return np.concatenate([tensor.array() for tensor in tensors])
    buffers = [tensor.buffer for tensor in tensors if tensor.buffer is not None]
    packed = len(buffers) == len(tensors)
    byte_size = sum(map(len, buffers)) if packed else element_count(shape) * datatype.size
    if memory is None or byte_size < POOLED_BYTES:
        if packed:  # one join of bytes is several times cheaper than making an array of each buffer first
            return np.frombuffer(b"".join(buffers), datatype.dtype).reshape(shape)
        return np.concatenate([tensor.array() for tensor in tensors])
    array = memory.empty(shape, datatype.dtype)
    if not packed or byte_size >= UNLOCKED_BYTES:
        return np.concatenate([tensor.array() for tensor in tensors], out=array)
    view = array.data.cast("B")
    start = 0
    for buffer in buffers:
        end = start + len(buffer)
        view[start:end] = buffer
        start = end
    return array


def reshaped(array: Array, dims: tuple[int, ...], target: tuple[int, ...], batched: bool) -> Array:
    """`array`, which has `dims`, in `target`; variable dimensions of the two correspond in their order."""
    head, shape = (array.shape[:1], array.shape[1:]) if batched else ((), array.shape)
    variable = iter([actual for dim, actual in zip(dims, shape, strict=False) if dim < 0])
    return array.reshape((*head, *(next(variable, -1) if dim < 0 else dim for dim in target)))


def seen_shape(shape: tuple[int, ...], plan: TensorPlan, batched: bool) -> tuple[int, ...]:
    """A tensor's shape in a request as the model sees it."""
    if plan.reshape is None:
        return shape
    head, item = (shape[:1], shape[1:]) if batched else ((), shape)
    variable = iter([actual for dim, actual in zip(plan.dims, item, strict=True) if dim < 0])
    fixed = element_count([dim for dim in plan.reshape if dim > 0])
    # a dimension of any size may stand for fixed ones: then there is only this one
    return (*head, *(next(variable, element_count(item) // fixed) if dim < 0 else dim for dim in plan.reshape))


def with_shape(tensor: Tensor, shape: tuple[int, ...], made: type[Tensor] = Tensor) -> Tensor:
    """The same elements in another shape, not copied and, where they came packed, not decoded again."""
    if tensor.buffer is not None and tensor.datatype is not DataType.BYTES:
        return made(tensor.name, tensor.datatype, shape, buffer=tensor.buffer)
    return made(tensor.name, tensor.datatype, shape, array=tensor.array().reshape(shape))
