"""Whether a request fits its model: names, types, shapes, batch size, byte counts. Pure.

A request that fits passes one short loop. One that does not goes through the checks again in the real server's order
(it looks at the inputs from the last to the first), so that the error is the one that its users know, in its words.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atoll.config.model_config import ModelConfig, ModelInput
from atoll.config.padding import Padding, read_padding
from atoll.errors import InvalidArgumentError
from atoll.request import InferenceRequest
from atoll.tensor import DataType, Tensor, element_count

BATCH_DIMENSION_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)


# Of a tensor without elements, all dimensions but those of 0 multiplied: nothing was sent for them, and what is made of
# them (a longer array, a mask) must stay within what a machine can count.
MOST_OF_NOTHING = 1 << 40


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model expects of an input; `dims` without the batch dimension, -1 where any size will do.

    `item_elements` is the number of elements of one item of the batch, -1 where a dimension is variable. `batched`: it
    has a batch dimension. `longest`: what each variable dimension can be padded to, where there is a limit.
    """

    name: str
    datatype: DataType
    dims: tuple[int, ...]
    optional: bool
    item_elements: int
    batched: bool = False
    longest: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """What a model expects of a request; made once, when it is loaded."""

    model_name: str
    max_batch_size: int
    inputs: Mapping[str, InputSpec]
    required: frozenset[str]
    outputs: frozenset[str]
    keys: tuple[tuple[str, Callable[[Tensor], object]], ...]  # inputs by which requests run together or not


def request_spec(config: ModelConfig) -> RequestSpec:
    """The spec of a complete configuration."""
    batched = config.max_batch_size > 0
    padding = read_padding(config)
    inputs = {
        one.name: InputSpec(
            one.name,
            one.data_type,
            one.dims,
            one.optional,
            -1 if any(dim < 0 for dim in one.dims) else element_count(one.dims),
            batched and not one.is_shape_tensor,
            tuple(buckets[-1] for buckets in padding.buckets(one.name, one.dims)),
        )
        for one in config.input
    }
    keys = [(one.name, _key(one, padding)) for one in config.input] if batched else []
    return RequestSpec(
        model_name=config.name,
        max_batch_size=config.max_batch_size,
        inputs=inputs,
        required=frozenset(name for name, spec in inputs.items() if not spec.optional),
        outputs=frozenset(one.name for one in config.output),
        keys=tuple((name, key) for name, key in keys if key is not None),
    )


def _key(one: ModelInput, padding: Padding) -> Callable[[Tensor], object] | None:
    """What must be equal of this input in requests that run together; None where they always can."""
    if one.is_shape_tensor:
        return _value
    if padding.separate_buckets and (buckets := padding.buckets(one.name, one.dims)):
        axes = [axis for axis, dim in enumerate(one.dims, 1) if dim < 0]
        places = list(zip(axes, buckets, strict=True))
        return lambda tensor: tuple([bisect_left(sizes, tensor.shape[axis]) for axis, sizes in places])
    joined_anyhow = one.allow_ragged_batch or one.name in padding.inputs
    if any(dim < 0 for dim in one.dims) and not joined_anyhow:
        return lambda tensor: tensor.shape[1:]
    return (lambda tensor: True) if one.optional else None  # it is there in all of them, or in none


def _value(tensor: Tensor) -> object:
    return tensor.shape, bytes(tensor.packed())


def validate(request: InferenceRequest, spec: RequestSpec) -> None:
    """Check the request and set its `batch_size` and `batch_key`. Raises InvalidArgumentError."""
    if not _fits(request, spec):
        _explain(request, spec)
        raise AssertionError("a request does not fit, and nothing says why. This is a bug")


def _fits(request: InferenceRequest, spec: RequestSpec) -> bool:
    inputs = request.inputs
    size = 0
    present = 0
    for name, expected in spec.inputs.items():
        tensor = inputs.get(name)
        if tensor is None:
            if not expected.optional:
                return False
            continue
        present += 1
        shape = tensor.shape
        if tensor.datatype is not expected.datatype:
            return False
        rows = 1
        if expected.batched:
            if not shape or (size and shape[0] != size) or not 0 < shape[0] <= spec.max_batch_size:
                return False
            size = rows = shape[0]
            item = shape[1:]
        else:
            item = shape
        if item != expected.dims:
            if not _matches(item, expected.dims) or (expected.longest and _too_long(item, expected)):
                return False
            elements = element_count(item)
            if not elements and _too_wide(item):
                return False
        else:
            elements = expected.item_elements
            if elements < 0:  # the shape itself says -1, as the configuration does
                return False
        buffer = tensor.buffer
        if buffer is not None:
            if tensor.datatype is DataType.BYTES:
                _decode(tensor, request, spec)
            elif len(buffer) != elements * rows * tensor.datatype.size:
                return False
    if present != len(inputs):
        return False
    for output in request.output_names:
        if output not in spec.outputs:
            return False
    request.batch_size = size or 1
    if spec.keys:
        request.batch_key = tuple(
            [None if (tensor := inputs.get(name)) is None else key(tensor) for name, key in spec.keys]
        )
    return True


def _decode(tensor: Tensor, request: InferenceRequest, spec: RequestSpec) -> None:
    """A BYTES input's elements are checked here, at the door: a lying length must not reach anybody else's batch."""
    try:
        tensor.decode(spec.model_name)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{_prefix(request)}{error}") from None


def _prefix(request: InferenceRequest) -> str:
    return f"[request id: {request.id or '<id_unknown>'}] "


def _explain(request: InferenceRequest, spec: RequestSpec) -> None:
    """Raise the first error that the real server would report."""
    model = spec.model_name
    for output in request.output_names:
        if output not in spec.outputs:
            raise InvalidArgumentError(f"unexpected inference output '{output}' for model '{model}'")
    prefix = _prefix(request)
    backwards = list(reversed(request.inputs.values()))
    if not len(spec.required) <= len(backwards) <= len(spec.inputs):
        raise _wrong_inputs(backwards, spec, prefix)
    if spec.max_batch_size > 0:
        # one that the model does not have is told of below, as by the real server
        whole = [one for one in backwards if one.name in spec.inputs and not spec.inputs[one.name].batched]
        _explain_batch_size([one for one in backwards if one not in whole], spec, prefix)
    for tensor in backwards:
        expected = spec.inputs.get(tensor.name)
        if expected is None:
            raise InvalidArgumentError(f"unexpected inference input '{tensor.name}' for model '{model}'")
        _explain_tensor(tensor, expected, spec, prefix)
    if not spec.required <= request.inputs.keys():  # the real server only counts them, and takes such a request
        raise _wrong_inputs(backwards, spec, prefix)


def _wrong_inputs(backwards: list[Tensor], spec: RequestSpec, prefix: str) -> InvalidArgumentError:
    least, most = len(spec.required), len(spec.inputs)
    wanted = f"{most} inputs" if least == most else f"number of inputs between {least} and {most}"
    names = [tensor.name for tensor in backwards]
    got = ",".join(f"'{name}'" for name in names)
    missing = ",".join(f"'{name}'" for name in spec.inputs if name in spec.required and name not in names)
    return InvalidArgumentError(
        f"{prefix}expected {wanted} but got {len(names)} inputs for model '{spec.model_name}'. "
        f"Got input(s) [{got}], but missing required input(s) [{missing}]. Please provide all required input(s)."
    )


def _explain_batch_size(tensors: list[Tensor], spec: RequestSpec, prefix: str) -> None:
    size = None
    for tensor in tensors:
        if not tensor.shape:
            raise InvalidArgumentError(
                f"{prefix}input '{tensor.name}' has no shape but model requires batch dimension for '{spec.model_name}'"
            )
        if size is not None and (tensor.shape[0] != size or size < 0):
            raise InvalidArgumentError(
                f"{prefix}input '{tensor.name}' batch size does not match other inputs for '{spec.model_name}'"
            )
        size = tensor.shape[0]
    if size is not None and size < 0:
        raise InvalidArgumentError(
            f"{prefix}All input dimensions should be specified for input '{tensors[-1].name}' "
            f"for model '{spec.model_name}', got {_dims(tensors[-1].shape)}"
        )
    if size is not None and size > spec.max_batch_size:
        raise InvalidArgumentError(
            f"{prefix}inference request batch-size must be <= {spec.max_batch_size} for '{spec.model_name}'"
        )


def _explain_tensor(tensor: Tensor, expected: InputSpec, spec: RequestSpec, prefix: str) -> None:
    name, model = tensor.name, spec.model_name
    if tensor.datatype is not expected.datatype:
        found = "<invalid>" if tensor.datatype is DataType.INVALID else tensor.datatype.protocol_name
        raise InvalidArgumentError(
            f"{prefix}inference input '{name}' data-type is '{found}', "
            f"but model '{model}' expects '{expected.datatype.protocol_name}'"
        )
    batched = expected.batched
    item = tensor.shape[1:] if batched else tensor.shape
    if not _matches(item, expected.dims):
        if len(item) == len(expected.dims) and all(
            actual == -1 or dim in (-1, actual) for actual, dim in zip(item, expected.dims, strict=True)
        ):
            raise InvalidArgumentError(
                f"{prefix}All input dimensions should be specified for input '{name}' for model '{model}', "
                f"got {_dims(tensor.shape)}"
            )
        full = (-1, *expected.dims) if batched else expected.dims
        note = BATCH_DIMENSION_NOTE if batched else ""
        raise InvalidArgumentError(
            f"{prefix}unexpected shape for input '{name}' for model '{model}'. "
            f"Expected {_dims(full)}, got {_dims(tensor.shape)}. {note}"
        )
    if expected.longest and (at := _too_long(item, expected)):
        axis, longest = at
        raise InvalidArgumentError(
            f"{prefix}input '{name}' for model '{model}' has shape {_dims(tensor.shape)}, but its dimension "
            f"{axis + batched} can be padded to {longest} at most: that is the largest bucket"
        )
    if _too_wide(item) and 0 in item:
        raise InvalidArgumentError(
            f"{prefix}input '{name}' for model '{model}' has shape {_dims(tensor.shape)}: its dimensions are too large "
            "for a tensor without elements"
        )
    items = max(tensor.shape[0], 1) if batched else 1
    size = element_count(item) * items * expected.datatype.size
    if tensor.buffer is None:
        size_found = element_count(tensor.shape) * expected.datatype.size
    else:
        size_found = len(tensor.buffer)
    if expected.datatype is not DataType.BYTES and size_found != size:
        raise InvalidArgumentError(
            f"{prefix}input byte size mismatch for input '{name}' for model '{model}'. "
            f"Expected {size}, got {size_found}"
        )
    if batched and tensor.shape[0] == 0:
        raise InvalidArgumentError(
            f"{prefix}input '{name}' for model '{model}' has a batch size of 0; send at least one item"
        )


def _dims(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _too_long(item: tuple[int, ...], expected: InputSpec) -> tuple[int, int] | None:
    """The first variable dimension that is larger than its largest bucket, and that bucket."""
    limits = iter(expected.longest)
    for axis, (actual, dim) in enumerate(zip(item, expected.dims, strict=True)):
        if dim < 0 and actual > (longest := next(limits)):
            return axis, longest
    return None


def _too_wide(item: tuple[int, ...]) -> bool:
    """Whether these dimensions, each 0 taken as 1, are more than any array may have."""
    return element_count([dim or 1 for dim in item]) > MOST_OF_NOTHING


def _matches(item: tuple[int, ...], dims: tuple[int, ...]) -> bool:
    if len(item) != len(dims):
        return False
    for actual, dim in zip(item, dims, strict=True):
        if actual < 0 or (actual != dim and dim != -1):
            return False
    return True
