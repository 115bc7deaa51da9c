"""What a model's configuration says about scheduling: dynamic batching, sequences, ensembles.

Field names, numbers and defaults are those of Triton's model_config.proto; config/schema holds ours.
"""

from dataclasses import dataclass, field
from enum import Enum

from atoll.tensor import DataType


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQueuePolicy:
    """How long a request may wait in a queue, and how many may. A timeout of 0 is none, a size of 0 unlimited."""

    class TimeoutAction(Enum):
        REJECT = 0
        DELAY = 1

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    default_timeout_microseconds: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDynamicBatching:
    """Requests of one model are joined into batches. Priorities run from 1 (first) to `priority_levels`."""

    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: ModelQueuePolicy | None = None
    priority_queue_policy: dict[int, ModelQueuePolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSequenceBatching:
    """Requests with one correlation ID go to one instance, in order. At most one of `direct` and `oldest` is set."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Control:
        """A signal about a sequence; the pairs hold its false and its true value, CORRID has a data type instead."""

        class Kind(Enum):
            CONTROL_SEQUENCE_START = 0
            CONTROL_SEQUENCE_READY = 1
            CONTROL_SEQUENCE_END = 2
            CONTROL_SEQUENCE_CORRID = 3

        kind: Kind = Kind.CONTROL_SEQUENCE_START
        int32_false_true: tuple[int, ...] = ()
        fp32_false_true: tuple[float, ...] = ()
        bool_false_true: tuple[bool, ...] = ()
        data_type: DataType = DataType.INVALID

    @dataclass(frozen=True, slots=True, kw_only=True)
    class ControlInput:
        """The model's input tensor that receives control signals."""

        name: str = ""
        control: tuple["ModelSequenceBatching.Control", ...] = ()

    @dataclass(frozen=True, slots=True, kw_only=True)
    class InitialState:
        """What a state holds when its sequence starts: zeros, or a file of the model's initial_state folder."""

        data_type: DataType = DataType.INVALID
        dims: tuple[int, ...] = ()
        zero_data: bool | None = None
        data_file: str | None = None
        name: str = ""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class State:
        """An output that comes back as an input with the sequence's next request."""

        input_name: str = ""
        output_name: str = ""
        data_type: DataType = DataType.INVALID
        dims: tuple[int, ...] = ()
        initial_state: tuple["ModelSequenceBatching.InitialState", ...] = ()
        use_same_buffer_for_input_output: bool = False
        use_growable_memory: bool = False

    @dataclass(frozen=True, slots=True, kw_only=True)
    class StrategyDirect:
        """Each sequence has its own batch slot until it ends."""

        max_queue_delay_microseconds: int = 0
        minimum_slot_utilization: float = 0.0

    @dataclass(frozen=True, slots=True, kw_only=True)
    class StrategyOldest:
        """The oldest waiting request of each of at most `max_candidate_sequences` sequences is batched."""

        max_candidate_sequences: int = 0
        preferred_batch_size: tuple[int, ...] = ()
        max_queue_delay_microseconds: int = 0
        preserve_ordering: bool = False

    direct: StrategyDirect | None = None
    oldest: StrategyOldest | None = None
    max_sequence_idle_microseconds: int = 0
    control_input: tuple[ControlInput, ...] = ()
    state: tuple[State, ...] = ()
    iterative_sequence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEnsembling:
    """Models that are run one after the other, their tensors wired by name."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Step:
        """One model of the ensemble. `model_version` -1 is its newest; the maps go from the model's tensor names to
        the ensemble's."""

        model_name: str = ""
        model_version: int = 0
        input_map: dict[str, str] = field(default_factory=dict)
        output_map: dict[str, str] = field(default_factory=dict)
        model_namespace: str = ""

    step: tuple[Step, ...] = ()
    max_inflight_requests: int = 0
