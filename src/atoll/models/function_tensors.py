"""What a caller says of a function's inputs, outputs and batching, as a model's configuration says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from atoll.config.model_config import (
    ModelConfig,
    ModelDynamicBatching,
    ModelInput,
    ModelInstanceGroup,
    ModelOutput,
    ModelTensorReshape,
)
from atoll.config.problems import suggestion
from atoll.errors import InvalidArgumentError
from atoll.tensor import BY_CONFIG_NAME, BY_PROTOCOL_NAME, DataType, data_type_of

DEFAULT_MAX_BATCH_SIZE = 32
BACKEND = "function"


class TensorSpec(NamedTuple):
    """A tensor that a function takes or returns.

    `dtype`: "FP32" and the like, a numpy dtype, or `str` for text (`bytes`, "BYTES": the bytes as they came). `shape`:
    without the batch dimension where the model batches; -1 is any size, and () one value. `optional`: an input that
    requests may leave out; the function is then called without it.
    """

    dtype: Any
    shape: Sequence[int]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class FunctionTensor:
    """The same, understood. `text`: elements are str to the function, and UTF-8 to clients."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    text: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Batching:
    """`max_batch_size` 0: the tensors have no batch dimension, and requests are not put together."""

    max_batch_size: int = 0
    max_queue_delay_us: int = 0


def read_tensors(kind: str, given: Mapping[str, Any]) -> tuple[FunctionTensor, ...]:
    """`given`: by name, each a TensorSpec or a tuple like one. `kind` is "inputs" or "outputs", for the errors.

    Raises InvalidArgumentError saying which tensor is wrong, and how it is written.
    """
    if not isinstance(given, Mapping):
        raise InvalidArgumentError(
            f"{kind}: expected a dict such as {{'NAME': ('FP32', [16])}}, found {type(given).__name__}"
        )
    return tuple(_tensor(kind, name, spec) for name, spec in given.items())


def _tensor(kind: str, name: Any, spec: Any) -> FunctionTensor:
    where = f"{kind}['{name}']"
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"{kind}: the name of a tensor is a text, and not {name!r}")
    if not isinstance(spec, tuple) or not 2 <= len(spec) <= 3:
        raise InvalidArgumentError(
            f"{where}: expected its data type and its shape, such as ('FP32', [16]), found {spec!r}"
        )
    dtype, shape, optional = TensorSpec(*spec)
    datatype = _datatype(where, dtype)
    if isinstance(shape, (str, bytes)) or not isinstance(shape, (Sequence, np.ndarray)):
        raise InvalidArgumentError(f"{where}: a shape is a list such as [16] or [3, -1], found {shape!r}")
    dims = []
    for dim in shape:
        if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or not (dim > 0 or dim == -1):
            raise InvalidArgumentError(f"{where}: {dim!r} in {list(shape)!r} is no size: 1 or more, or -1 for any size")
        dims.append(int(dim))
    return FunctionTensor(name, datatype, tuple(dims), _is_text(dtype), bool(optional))


def _datatype(where: str, dtype: Any) -> DataType:
    if isinstance(dtype, DataType) and dtype is not DataType.INVALID:
        return dtype
    if isinstance(dtype, str):
        known = {**BY_PROTOCOL_NAME, **{name: one for name, one in BY_CONFIG_NAME.items() if name != "TYPE_INVALID"}}
        if dtype in known:
            return known[dtype]
    try:
        return data_type_of(np.empty(0, np.dtype(dtype)))
    except (TypeError, ValueError, InvalidArgumentError):
        near = suggestion(dtype, BY_PROTOCOL_NAME) if isinstance(dtype, str) else None
        hint = f"did you mean '{near}'?" if near else f"there are {', '.join(BY_PROTOCOL_NAME)}, and numpy's"
        raise InvalidArgumentError(f"{where}: {dtype!r} is no data type; {hint}") from None


def _is_text(dtype: Any) -> bool:
    return dtype is str or (isinstance(dtype, np.dtype) and dtype.kind in "UT")


def read_batching(given: Any) -> Batching:
    """False, True, the largest batch, or a dict of max_batch_size and max_queue_delay_us. Raises
    InvalidArgumentError."""
    if given is True:
        return Batching(DEFAULT_MAX_BATCH_SIZE)
    if given is False or given is None:
        return Batching()
    if isinstance(given, Mapping):
        known = ("max_batch_size", "max_queue_delay_us")
        for key in given:
            if key not in known:
                near = suggestion(str(key), known)
                hint = f"; did you mean '{near}'?" if near else f"; there are {' and '.join(known)}"
                raise InvalidArgumentError(f"batching: '{key}' is no setting{hint}")
        size = _count("batching['max_batch_size']", given.get("max_batch_size", DEFAULT_MAX_BATCH_SIZE), 1)
        return Batching(size, _count("batching['max_queue_delay_us']", given.get("max_queue_delay_us", 0), 0))
    return Batching(_count("batching", given, 1))


def read_instances(given: Any) -> int:
    """How many threads may call the function at once. Raises InvalidArgumentError."""
    return _count("instances", given, 1)


def _count(what: str, given: Any, least: int) -> int:
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or not least <= given < 2**31:
        raise InvalidArgumentError(f"{what}: expected a whole number from {least}, found {given!r}")
    return int(given)


def function_config(
    name: str,
    inputs: Sequence[FunctionTensor],
    outputs: Sequence[FunctionTensor],
    batching: Batching,
    instances: int,
) -> ModelConfig:
    """The configuration that says all this."""
    batches = batching.max_batch_size > 1
    return ModelConfig(
        name=name,
        backend=BACKEND,
        max_batch_size=batching.max_batch_size,
        input=tuple(
            ModelInput(
                name=one.name,
                data_type=one.datatype,
                dims=one.shape or (1,),
                reshape=_reshape(one),
                optional=one.optional,
            )
            for one in inputs
        ),
        output=tuple(
            ModelOutput(name=one.name, data_type=one.datatype, dims=one.shape or (1,), reshape=_reshape(one))
            for one in outputs
        ),
        dynamic_batching=ModelDynamicBatching(max_queue_delay_microseconds=batching.max_queue_delay_us)
        if batches
        else None,
        instance_group=(ModelInstanceGroup(name=name, kind=ModelInstanceGroup.Kind.KIND_CPU, count=instances),),
    )


def _reshape(tensor: FunctionTensor) -> ModelTensorReshape | None:
    """dims must not be empty: clients send one element, the function sees none but the batch dimension."""
    return None if tensor.shape else ModelTensorReshape()
