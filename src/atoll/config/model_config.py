"""A model's configuration as frozen records: one for each message of the schema, under its name and its fields' names.

Repeated fields are tuples, maps are dicts that nobody changes, messages and the members of a oneof are None when
absent; everything else has the schema's default. `dataclasses.replace` makes a changed copy.
Field names, numbers and defaults are those of Triton's model_config.proto; config/schema holds ours.
"""

from dataclasses import dataclass, field

from atoll.config.placement import (
    ModelInstanceGroup,
    ModelOptimizationPolicy,
    ModelRateLimiter,
)
from atoll.config.scheduling import (
    ModelDynamicBatching,
    ModelEnsembling,
    ModelQueuePolicy,
    ModelSequenceBatching,
)
from atoll.config.tensors import (
    BatchInput,
    BatchOutput,
    ModelInput,
    ModelOutput,
    ModelTensorReshape,
)
from atoll.tensor import DataType

__all__ = [
    "BatchInput",
    "BatchOutput",
    "ModelConfig",
    "ModelDynamicBatching",
    "ModelEnsembling",
    "ModelInput",
    "ModelInstanceGroup",
    "ModelMetrics",
    "ModelOperations",
    "ModelOptimizationPolicy",
    "ModelOutput",
    "ModelParameter",
    "ModelQueuePolicy",
    "ModelRateLimiter",
    "ModelRepositoryAgents",
    "ModelResponseCache",
    "ModelSequenceBatching",
    "ModelTensorReshape",
    "ModelTransactionPolicy",
    "ModelVersionPolicy",
    "ModelWarmup",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionPolicy:
    """Which of the versions in the repository are served: at most one of the three is set, none means all."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Latest:
        """The `num_versions` highest numbers."""

        num_versions: int = 0

    @dataclass(frozen=True, slots=True, kw_only=True)
    class All:
        """Every version."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Specific:
        """Exactly these."""

        versions: tuple[int, ...] = ()

    latest: Latest | None = None
    all: All | None = None
    specific: Specific | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParameter:
    """The value of one entry of ModelConfig.parameters."""

    string_value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWarmup:
    """A request that every instance executes `count` times (0 means once) before the model is ready."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Input:
        """A made-up tensor; exactly one of the three sources of its data is set."""

        data_type: DataType = DataType.INVALID
        dims: tuple[int, ...] = ()
        zero_data: bool | None = None
        random_data: bool | None = None
        input_data_file: str | None = None

    name: str = ""
    batch_size: int = 0
    inputs: dict[str, Input] = field(default_factory=dict)
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOperations:
    """Libraries with custom operators, for the backend to load first."""

    op_library_filename: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTransactionPolicy:
    """`decoupled`: a request may have any number of responses, none included."""

    decoupled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRepositoryAgents:
    """Agents that see the model's files before they are loaded, in this order."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Agent:
        name: str = ""
        parameters: dict[str, str] = field(default_factory=dict)

    agents: tuple[Agent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponseCache:
    """`enable`: equal requests may be answered from the server's response cache."""

    enable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetrics:
    """Settings for single metric families of this model."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class MetricControl:
        @dataclass(frozen=True, slots=True, kw_only=True)
        class MetricIdentifier:
            family: str = ""

        @dataclass(frozen=True, slots=True, kw_only=True)
        class HistogramOptions:
            """Upper bounds of the buckets, ascending, in the metric's own unit."""

            buckets: tuple[float, ...] = ()

        metric_identifier: MetricIdentifier | None = None
        histogram_options: HistogramOptions | None = None

    metric_control: tuple[MetricControl, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything that config.pbtxt can say. At most one of the three schedulers is set.

    `max_batch_size` 0 means that the model's tensors have no batch dimension.
    """

    name: str = ""
    platform: str = ""
    backend: str = ""
    runtime: str = ""
    version_policy: ModelVersionPolicy | None = None
    max_batch_size: int = 0
    input: tuple[ModelInput, ...] = ()
    output: tuple[ModelOutput, ...] = ()
    batch_input: tuple[BatchInput, ...] = ()
    batch_output: tuple[BatchOutput, ...] = ()
    optimization: ModelOptimizationPolicy | None = None
    dynamic_batching: ModelDynamicBatching | None = None
    sequence_batching: ModelSequenceBatching | None = None
    ensemble_scheduling: ModelEnsembling | None = None
    instance_group: tuple[ModelInstanceGroup, ...] = ()
    default_model_filename: str = ""
    cc_model_filenames: dict[str, str] = field(default_factory=dict)
    metric_tags: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, ModelParameter] = field(default_factory=dict)
    model_warmup: tuple[ModelWarmup, ...] = ()
    model_operations: ModelOperations | None = None
    model_transaction_policy: ModelTransactionPolicy | None = None
    model_repository_agents: ModelRepositoryAgents | None = None
    response_cache: ModelResponseCache | None = None
    model_metrics: ModelMetrics | None = None

    @property
    def decoupled(self) -> bool:
        """Whether a request may have any number of responses."""
        return self.model_transaction_policy is not None and self.model_transaction_policy.decoupled

    def parameter(self, key: str, default: str = "") -> str:
        """The text of a parameter, or `default` where the configuration does not give it."""
        found = self.parameters.get(key)
        return default if found is None else found.string_value
