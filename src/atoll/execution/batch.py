"""Joining the inputs of a batch's requests, and splitting its outputs among them. Pure.

A shape in a request is what the client sees; where the configuration has `reshape`, the model sees another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.errors import InternalError
from atoll.request import InferenceRequest
from atoll.tensor import Array, DataType, Tensor, data_type_of, element_count

POOLED_BYTES = 64 << 10  # a smaller input of a batch is joined faster without the pool (docs/decisions/010)
UNLOCKED_BYTES = 1 << 20  # copies from here on let other threads run meanwhile, which costs a few us


class HostMemory(Protocol):
    """Where joined inputs are put: a HostMemoryPool."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A new array in C order, not initialised."""


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
    """What joining and splitting need to know of a model; made once, when it is loaded."""

    model_name: str
    batched: bool
    inputs: tuple[TensorPlan, ...]
    outputs: tuple[TensorPlan, ...]
    output_names: tuple[str, ...]


def plan_batches(config: ModelConfig) -> BatchPlan:
    """The plan of a complete configuration."""
    outputs = tuple(_plan(one) for one in config.output)
    return BatchPlan(
        model_name=config.name,
        batched=config.max_batch_size > 0,
        inputs=tuple(_plan(one) for one in config.input),
        outputs=outputs,
        output_names=tuple(one.name for one in outputs),
    )


def _plan(tensor: ModelInput | ModelOutput) -> TensorPlan:
    reshape = None if tensor.reshape is None else tensor.reshape.shape
    is_plain = reshape is None and all(dim >= 0 for dim in tensor.dims)
    return TensorPlan(tensor.name, tensor.data_type, tensor.dims, reshape, tensor.data_type.dtype, is_plain)


def join(requests: Sequence[InferenceRequest], plan: BatchPlan, memory: HostMemory | None = None) -> dict[str, Array]:
    """The batch's inputs as arrays, each request's items behind the one before.

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
            array = _join([request.inputs[one.name] for request in requests], one.datatype, memory)
        joined[one.name] = array if one.reshape is None else _reshaped(array, one.dims, one.reshape, plan.batched)
    return joined


def _join(tensors: list[Tensor], datatype: DataType, memory: HostMemory | None) -> Array:
    if datatype is DataType.BYTES:
        return np.concatenate([tensor.array() for tensor in tensors])
    buffers = [tensor.buffer for tensor in tensors if tensor.buffer is not None]
    packed = len(buffers) == len(tensors)
    shape = (sum([tensor.shape[0] for tensor in tensors]), *tensors[0].shape[1:])
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


def split(
    outputs: Mapping[str, Array], requests: Sequence[InferenceRequest], plan: BatchPlan, size: int
) -> list[list[Tensor]]:
    """Each request's output tensors: views of the batch's arrays, in the model's order, as the real server has them.

    `size` is the batch's number of items. Raises InternalError where the model's outputs are not what its configuration
    says: nothing is answered then, rather than something wrong.
    """
    item = 1 if plan.batched else 0
    checked: list[tuple[TensorPlan, Array]] = []
    for one in plan.outputs:
        array = outputs.get(one.name)
        if array is None:
            continue  # nobody wants it
        shape = array.shape
        if not (
            one.is_plain and array.dtype is one.dtype and shape[item:] == one.dims and shape[:item] in ((size,), ())
        ):
            array = _checked(array, one, plan, size)
        checked.append((one, array))
    if len(requests) == 1:
        return [_tensors(checked, requests[0].output_names, None)]
    shares: list[list[Tensor]] = []
    start = 0
    for request in requests:
        stop = start + request.batch_size
        shares.append(_tensors(checked, request.output_names, slice(start, stop)))
        start = stop
    return shares


def needed_outputs(requests: Sequence[InferenceRequest], plan: BatchPlan) -> Sequence[str]:
    """The outputs that at least one request of the batch wants, in the model's order."""
    wanted: set[str] = set()
    for request in requests:
        if not request.output_names:
            return plan.output_names
        wanted.update(request.output_names)
    return [name for name in plan.output_names if name in wanted]


def _tensors(checked: list[tuple[TensorPlan, Array]], wanted: tuple[str, ...], rows: slice | None) -> list[Tensor]:
    tensors = []
    for one, array in checked:
        name = one.name
        if not wanted or name in wanted:
            if rows is not None:
                array = array[rows]
            tensors.append(Tensor(name, one.datatype, array.shape, array=array))
    return tensors


def _checked(array: Array, one: TensorPlan, plan: BatchPlan, size: int) -> Array:
    """The output as the client is to see it, after a look at its type and shape."""
    if array.dtype != one.dtype:
        raise InternalError(
            f"unexpected datatype {data_type_of(array).config_name} for inference output '{one.name}', "
            f"expecting {one.datatype.config_name}; correct the output's data_type in the configuration of model "
            f"'{plan.model_name}'"
        )
    if plan.batched and (array.ndim == 0 or array.shape[0] != size):
        raise InternalError(
            f"output '{one.name}' of model '{plan.model_name}' has shape {list(array.shape)} for a batch of {size}: "
            "its first dimension must be the batch size; set max_batch_size to 0 if the model does not batch"
        )
    if one.reshape is not None:
        array = _reshaped(array, one.reshape, one.dims, plan.batched)
    shape = array.shape[1:] if plan.batched else array.shape
    if len(shape) != len(one.dims) or any(d not in (-1, s) for d, s in zip(one.dims, shape, strict=True)):
        raise InternalError(
            f"unexpected shape for output '{one.name}' of model '{plan.model_name}': the model returned {list(shape)}, "
            f"the configuration says {list(one.dims)}" + (" (without the batch dimension)" if plan.batched else "")
        )
    return array


def _reshaped(array: Array, dims: tuple[int, ...], target: tuple[int, ...], batched: bool) -> Array:
    """`array`, which has `dims`, in `target`; variable dimensions of the two correspond in their order."""
    head, shape = (array.shape[:1], array.shape[1:]) if batched else ((), array.shape)
    variable = iter([actual for dim, actual in zip(dims, shape, strict=False) if dim < 0])
    return array.reshape((*head, *(next(variable, -1) if dim < 0 else dim for dim in target)))
