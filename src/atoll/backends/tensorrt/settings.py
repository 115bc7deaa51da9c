"""What the command line and config.pbtxt say about engines, under the names of Triton's TensorRT backend."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atoll.backends.api import ModelSource
from atoll.backends.parameters import Parameters
from atoll.config.model_config import ModelConfig, ModelInstanceGroup, ModelOptimizationPolicy
from atoll.errors import ConfigError

_PRIORITIES = {
    ModelOptimizationPolicy.ModelPriority.PRIORITY_MAX: 1,
    ModelOptimizationPolicy.ModelPriority.PRIORITY_MIN: -1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """`plugins`: libraries to load first. `host_code`: whether engines may bring programs for the host with them.

    Both are the operator's to say, since they run code: they are read from the command line alone.
    """

    plugins: tuple[Path, ...] = ()
    host_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """`graphs`: capture CUDA graphs. `spin`: waiting for the GPU keeps a core busy. `priority`: of the stream: 1, 0 or
    -1. `pinned`: outputs come through pinned memory.
    """

    graphs: bool = False
    spin: bool = False
    priority: int = 0
    pinned: bool = True


def engine_settings(source: ModelSource) -> EngineSettings:
    """Raises ConfigError for a plugin library that is not there, and a switch that is none."""
    paths = tuple(Path(one.strip()) for one in source.settings.get("plugins", "").split(";") if one.strip())
    for path in paths:
        if "/" in str(path) and not path.is_file():
            raise ConfigError(
                f"--backend-config=tensorrt,plugins={source.settings['plugins']} names '{path}', which is not there; "
                "give the paths of plugin libraries, separated by semicolons"
            )
    return EngineSettings(plugins=paths, host_code=Parameters(source).operator_allows("version-compatible"))


def run_settings(config: ModelConfig) -> RunSettings:
    """What `optimization` says. `output_copy_stream`, `eager_batching` and `gather_kernel_buffer_threshold` change
    nothing here: an instance has one batch at a time, joined in the host's memory.
    """
    policy = config.optimization or ModelOptimizationPolicy()
    cuda = policy.cuda or ModelOptimizationPolicy.Cuda()
    pinned = policy.output_pinned_memory
    return RunSettings(
        graphs=cuda.graphs,
        spin=cuda.busy_wait_events,
        priority=_PRIORITIES.get(policy.priority, 0),
        pinned=pinned is None or pinned.enable,
    )


def dla_core(group: ModelInstanceGroup) -> int | None:
    """The DLA core that the group's instances use; None for none. Raises ConfigError for more than one."""
    found = group.secondary_devices
    if not found:
        return None
    if len(found) > 1 or found[0].device_id < 0:
        raise ConfigError(
            f"instance group '{group.name}' names {len(found)} secondary_devices but an engine runs on one DLA core; "
            "name one, with a device_id from 0"
        )
    return found[0].device_id


def groups_of(config: ModelConfig) -> Mapping[str, ModelInstanceGroup]:
    """By the beginning of the names of their instances."""
    return {group.name: group for group in config.instance_group}
