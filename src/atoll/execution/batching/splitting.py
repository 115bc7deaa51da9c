"""A batch's outputs cut into each request's. Pure."""

from collections.abc import Mapping, Sequence

from atoll.errors import InternalError
from atoll.execution.batching.joining import reshaped
from atoll.execution.batching.plan import BatchPlan, TensorPlan
from atoll.request import InferenceRequest
from atoll.tensor import Array, Tensor, data_type_of


def split(
    outputs: Mapping[str, Array], requests: Sequence[InferenceRequest], plan: BatchPlan, size: int
) -> list[list[Tensor]]:
    """Each request's output tensors: views of the batch's arrays, in the model's order, as the real server has them.

    `size` is the batch's number of items. Raises InternalError where the model's outputs are not what its configuration
    says: nothing is answered then, rather than something wrong.
    """
    if plan.cutters:
        return _split_with_cutters(outputs, requests, plan, size)
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
            array = checked_output(array, one, plan.batched, size, plan.model_name)
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


def _split_with_cutters(
    outputs: Mapping[str, Array], requests: Sequence[InferenceRequest], plan: BatchPlan, size: int
) -> list[list[Tensor]]:
    shares: list[list[Tensor]] = [[] for _ in requests]
    for one, cutter in zip(plan.outputs, plan.cutters, strict=True):
        array = outputs.get(one.name)
        if array is None:
            continue
        if cutter is not None:
            parts = cutter.cut(array, requests, size)
        else:
            parts = rows_of(checked_output(array, one, plan.batched, size, plan.model_name), requests)
        for request, share, part in zip(requests, shares, parts, strict=True):
            if not request.output_names or one.name in request.output_names:
                share.append(Tensor(one.name, one.datatype, part.shape, array=part))
    return shares


def rows_of(array: Array, requests: Sequence[InferenceRequest]) -> list[Array]:
    """Each request's items of an array in which the batch's lie behind each other."""
    if len(requests) == 1:
        return [array]
    parts = []
    start = 0
    for request in requests:
        parts.append(array[start : start + request.batch_size])
        start += request.batch_size
    return parts


def _tensors(checked: list[tuple[TensorPlan, Array]], wanted: tuple[str, ...], rows: slice | None) -> list[Tensor]:
    tensors = []
    for one, array in checked:
        name = one.name
        if not wanted or name in wanted:
            if rows is not None:
                array = array[rows]
            tensors.append(Tensor(name, one.datatype, array.shape, array=array))
    return tensors


def checked_type(array: Array, one: TensorPlan, model_name: str) -> None:
    """Raises InternalError where an output is of another type than the configuration says."""
    if array.dtype != one.dtype:
        raise InternalError(
            f"unexpected datatype {data_type_of(array).config_name} for inference output '{one.name}', "
            f"expecting {one.datatype.config_name}; correct the output's data_type in the configuration of model "
            f"'{model_name}'"
        )


def checked_output(array: Array, one: TensorPlan, batched: bool, size: int, model_name: str) -> Array:
    """The output as the client is to see it, after a look at its type and shape."""
    checked_type(array, one, model_name)
    if batched and (array.ndim == 0 or array.shape[0] != size):
        raise InternalError(
            f"output '{one.name}' of model '{model_name}' has shape {list(array.shape)} for a batch of {size}: "
            "its first dimension must be the batch size; set max_batch_size to 0 if the model does not batch"
        )
    if one.reshape is not None:
        array = reshaped(array, one.reshape, one.dims, batched)
    shape = array.shape[1:] if batched else array.shape
    if len(shape) != len(one.dims) or any(d not in (-1, s) for d, s in zip(one.dims, shape, strict=True)):
        raise InternalError(
            f"unexpected shape for output '{one.name}' of model '{model_name}': the model returned {list(shape)}, "
            f"the configuration says {list(one.dims)}" + (" (without the batch dimension)" if batched else "")
        )
    return array
