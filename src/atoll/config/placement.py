"""What a model's configuration says about where and how it runs: instance groups, rate limits, optimization.

Field names, numbers and defaults are those of Triton's model_config.proto; config/schema holds ours.
"""

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRateLimiter:
    """What an instance must hold to execute; with `priority` 2 it has half as many turns as with 1."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Resource:
        """An amount of a resource; `global_` (in the schema: global) shares it between devices."""

        name: str = ""
        global_: bool = False
        count: int = 0

    resources: tuple[Resource, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInstanceGroup:
    """Instances of the model, `count` on each device."""

    class Kind(Enum):
        KIND_AUTO = 0
        KIND_GPU = 1
        KIND_CPU = 2
        KIND_MODEL = 3

    @dataclass(frozen=True, slots=True, kw_only=True)
    class SecondaryDevice:
        """A further device that an instance uses beside its own."""

        class SecondaryDeviceKind(Enum):
            KIND_NVDLA = 0

        kind: SecondaryDeviceKind = SecondaryDeviceKind.KIND_NVDLA
        device_id: int = 0

    name: str = ""
    kind: Kind = Kind.KIND_AUTO
    count: int = 0
    rate_limiter: ModelRateLimiter | None = None
    gpus: tuple[int, ...] = ()
    secondary_devices: tuple[SecondaryDevice, ...] = ()
    profile: tuple[str, ...] = ()
    passive: bool = False
    host_policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptimizationPolicy:
    """How the runtime may rearrange the model and its memory."""

    class ModelPriority(Enum):
        PRIORITY_DEFAULT = 0
        PRIORITY_MAX = 1
        PRIORITY_MIN = 2

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Graph:
        """`level`: -1 basic, 0 the runtime's default, 1 and more the further ones."""

        level: int = 0

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Cuda:
        """CUDA graphs, and the shapes for which they are captured."""

        @dataclass(frozen=True, slots=True, kw_only=True)
        class GraphSpec:
            """One graph: a batch size and a shape for each input."""

            @dataclass(frozen=True, slots=True, kw_only=True)
            class Shape:
                dim: tuple[int, ...] = ()

            @dataclass(frozen=True, slots=True, kw_only=True)
            class LowerBound:
                """The smallest batch and shapes for which the graph may be used."""

                batch_size: int = 0
                input: dict[str, "ModelOptimizationPolicy.Cuda.GraphSpec.Shape"] = field(default_factory=dict)

            batch_size: int = 0
            input: dict[str, Shape] = field(default_factory=dict)
            graph_lower_bound: LowerBound | None = None

        graphs: bool = False
        busy_wait_events: bool = False
        graph_spec: tuple[GraphSpec, ...] = ()
        output_copy_stream: bool = False

    @dataclass(frozen=True, slots=True, kw_only=True)
    class ExecutionAccelerators:
        """Accelerators (tensorrt, openvino, ...) that the runtime may hand parts of the model to, by device kind."""

        @dataclass(frozen=True, slots=True, kw_only=True)
        class Accelerator:
            name: str = ""
            parameters: dict[str, str] = field(default_factory=dict)

        gpu_execution_accelerator: tuple[Accelerator, ...] = ()
        cpu_execution_accelerator: tuple[Accelerator, ...] = ()

    @dataclass(frozen=True, slots=True, kw_only=True)
    class PinnedMemoryBuffer:
        enable: bool = False

    graph: Graph | None = None
    priority: ModelPriority = ModelPriority.PRIORITY_DEFAULT
    cuda: Cuda | None = None
    execution_accelerators: ExecutionAccelerators | None = None
    input_pinned_memory: PinnedMemoryBuffer | None = None
    output_pinned_memory: PinnedMemoryBuffer | None = None
    gather_kernel_buffer_threshold: int = 0
    eager_batching: bool = False
