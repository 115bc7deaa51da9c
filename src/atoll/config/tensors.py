"""What a model's configuration says about tensors: its inputs, its outputs, and those made from a batch.

Field names, numbers and defaults are those of Triton's model_config.proto; config/schema holds ours.
"""

from dataclasses import dataclass
from enum import Enum

from atoll.tensor import DataType


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTensorReshape:
    """The shape that the model itself sees, where it is not the one that clients use."""

    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """An input tensor. `dims` are without the batch dimension where max_batch_size is over 0; -1 is any size."""

    class Format(Enum):
        FORMAT_NONE = 0
        FORMAT_NHWC = 1
        FORMAT_NCHW = 2

    name: str = ""
    data_type: DataType = DataType.INVALID
    format: Format = Format.FORMAT_NONE
    dims: tuple[int, ...] = ()
    reshape: ModelTensorReshape | None = None
    is_shape_tensor: bool = False
    allow_ragged_batch: bool = False
    optional: bool = False
    is_non_linear_format_io: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutput:
    """An output tensor; `dims` as in ModelInput, `label_filename` relative to the model's directory."""

    name: str = ""
    data_type: DataType = DataType.INVALID
    dims: tuple[int, ...] = ()
    reshape: ModelTensorReshape | None = None
    label_filename: str = ""
    is_shape_tensor: bool = False
    is_non_linear_format_io: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInput:
    """Input tensors that the server makes for each batch out of the shapes of its requests."""

    class Kind(Enum):
        BATCH_ELEMENT_COUNT = 0
        BATCH_ACCUMULATED_ELEMENT_COUNT = 1
        BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO = 2
        BATCH_MAX_ELEMENT_COUNT_AS_SHAPE = 3
        BATCH_ITEM_SHAPE = 4
        BATCH_ITEM_SHAPE_FLATTEN = 5

    kind: Kind = Kind.BATCH_ELEMENT_COUNT
    target_name: tuple[str, ...] = ()
    data_type: DataType = DataType.INVALID
    source_input: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutput:
    """Output tensors that the server cuts into responses by the shapes of the named inputs."""

    class Kind(Enum):
        BATCH_SCATTER_WITH_INPUT_SHAPE = 0

    target_name: tuple[str, ...] = ()
    kind: Kind = Kind.BATCH_SCATTER_WITH_INPUT_SHAPE
    source_input: tuple[str, ...] = ()
