"""The enumerations of the in-process API, with the numbers of Triton's C API."""

from enum import IntEnum, IntFlag

from atoll.tensor import BY_NUMBER
from atoll.tensor import DataType as EngineType

_ENGINE_NUMBERS = {one.protocol_name: number for number, one in BY_NUMBER.items()}


class DataType(IntEnum):
    """What a tensor's elements are. FP16 and BF16 are 10 and 14, as everywhere in Triton."""

    INVALID = 0
    BOOL = 1
    UINT8 = 2
    UINT16 = 3
    UINT32 = 4
    UINT64 = 5
    INT8 = 6
    INT16 = 7
    INT32 = 8
    INT64 = 9
    FP16 = 10
    FP32 = 11
    FP64 = 12
    BYTES = 13
    BF16 = 14

    @property
    def engine(self) -> EngineType:
        """The same in the terms of `atoll.DataType`."""
        return BY_NUMBER[_ENGINE_NUMBERS[self.name]]


class MemoryType(IntEnum):
    """Where memory is. CPU_PINNED is the host's, prepared for a GPU to read."""

    CPU = 0
    CPU_PINNED = 1
    GPU = 2


class ModelControlMode(IntEnum):
    """Who decides which models are loaded: nobody after the start, `poll_model_repository`, or `load` and `unload`."""

    NONE = 0
    POLL = 1
    EXPLICIT = 2


class RateLimitMode(IntEnum):
    """Whether instances wait for the resources that their configurations name."""

    OFF = 0
    EXEC_COUNT = 1


class InstanceGroupKind(IntEnum):
    """Where the instances of a group run."""

    AUTO = 0
    CPU = 1
    GPU = 2
    MODEL = 3


class LogFormat(IntEnum):
    """How lines of the log begin."""

    DEFAULT = 0
    ISO8601 = 1


class LogLevel(IntEnum):
    """How grave a line of the log is."""

    INFO = 0
    WARN = 1
    ERROR = 2
    VERBOSE = 3


class MetricFormat(IntEnum):
    """How metrics are written."""

    PROMETHEUS = 0


class MetricKind(IntEnum):
    """What a metric is."""

    COUNTER = 0
    GAUGE = 1
    HISTOGRAM = 2


class ModelBatchFlag(IntFlag):
    """FIRST_DIM: the model batches, and the first dimension of its tensors is the batch."""

    UNKNOWN = 1
    FIRST_DIM = 2


class ModelTxnPropertyFlag(IntFlag):
    """How many responses a request has: one, or (DECOUPLED) any number."""

    ONE_TO_ONE = 1
    DECOUPLED = 2
