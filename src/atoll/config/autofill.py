"""What a configuration leaves out: taken from the model file, or from the defaults that Triton fills in."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from atoll.config.agreement import check
from atoll.config.model_config import (
    ModelConfig,
    ModelDynamicBatching,
    ModelInput,
    ModelInstanceGroup,
    ModelOptimizationPolicy,
    ModelOutput,
    ModelSequenceBatching,
    ModelTensorReshape,
    ModelVersionPolicy,
)
from atoll.config.platforms import backend_of, default_model_filename, is_ensemble, platform_of
from atoll.config.signature import ModelSignature, TensorSignature, server_made_inputs
from atoll.tensor import DataType

__all__ = ["ModelSignature", "TensorSignature", "check", "fill", "normalize"]

_Tensor = TypeVar("_Tensor", ModelInput, ModelOutput)


def fill(config: ModelConfig, found: ModelSignature, *, default_max_batch_size: int = 4) -> ModelConfig:
    """The configuration with what it leaves out about tensors and batching, as the model file has it.

    A configuration that names both inputs and outputs keeps its max_batch_size, 0 too. Any other gets the file's, or
    `default_max_batch_size` where the file says none, if it has none and the model can batch, and with more than 1 also
    dynamic batching, unless a scheduler is configured. Tensors that the file has and the configuration does not are
    only added where it names none of their kind; of a tensor that it names, the missing type or dims are added.
    """
    size = config.max_batch_size
    dynamic = config.dynamic_batching
    if (
        size == 0
        and not (config.input and config.output)
        and found.supports_batching()
        and not _has_whole_shape(config, found)
    ):
        size = found.max_batch_size or max(default_max_batch_size, 0)
        if size > 1 and config.sequence_batching is None and config.ensemble_scheduling is None and dynamic is None:
            dynamic = ModelDynamicBatching()
    made_by_server = server_made_inputs(config)
    states = {state.output_name for state in config.sequence_batching.state} if config.sequence_batching else set()
    inputs = _filled(
        config.input,
        [ModelInput(name=one.name, optional=one.optional) for one in found.inputs if one.name not in made_by_server],
        found.inputs,
        size > 0,
    )
    # what an input's shape says of an output is not what the file says of it: the dims of these are the user's to give
    scattered = {name for one in config.batch_output for name in one.target_name}
    outputs = _filled(
        config.output,
        [ModelOutput(name=one.name) for one in found.outputs if one.name not in states],
        [replace(one, shape=None) if one.name in scattered else one for one in found.outputs],
        size > 0,
    )
    return replace(config, max_batch_size=size, dynamic_batching=dynamic, input=inputs, output=outputs)


def _has_whole_shape(config: ModelConfig, found: ModelSignature) -> bool:
    """Whether the configuration spells a tensor's dims with the first dimension, and so means no batching."""
    ranks = {one.name: len(one.shape) for one in (*found.inputs, *found.outputs) if one.shape is not None}
    given: tuple[ModelInput | ModelOutput, ...] = (*config.input, *config.output)
    return any(one.dims and one.reshape is None and len(one.dims) == ranks.get(one.name) for one in given)


def _filled(
    given: tuple[_Tensor, ...], all_of_them: Sequence[_Tensor], found: Sequence[TensorSignature], batching: bool
) -> tuple[_Tensor, ...]:
    by_name = {one.name: one for one in found}
    return tuple(
        _completed(one, by_name[one.name], batching) if one.name in by_name else one for one in given or all_of_them
    )


def _completed(tensor: _Tensor, found: TensorSignature, batching: bool) -> _Tensor:
    if tensor.data_type is DataType.INVALID:
        tensor = replace(tensor, data_type=found.data_type)
    if tensor.dims or found.shape is None:
        return tensor
    dims = found.shape[1:] if batching else found.shape
    if isinstance(tensor, ModelInput) and tensor.allow_ragged_batch and len(found.shape) == 1:
        dims = found.shape  # what the model sees is flat: that is no batch dimension
    if dims:
        return replace(tensor, dims=dims)
    # dims must not be empty: clients send one element, the model sees none but the batch dimension
    return replace(tensor, dims=(1,), reshape=tensor.reshape or ModelTensorReshape())


def normalize(
    config: ModelConfig, *, name: str = "", default_instance_count: int = 1, gpus: Sequence[int] = ()
) -> ModelConfig:
    """The configuration with the defaults that Triton shows in /v2/models/M/config.

    `name` is used where the configuration has none. `gpus` are the devices that the model's backend can use on this
    machine; `default_instance_count` is for each group on a CPU that gives no count (real server: 1, ONNX Runtime 2).
    """
    config = replace(config, name=config.name or name)
    config = replace(config, version_policy=config.version_policy or _LATEST)
    if is_ensemble(config):
        return config
    backend = backend_of(config)
    return replace(
        config,
        backend=backend,
        platform=platform_of(config),
        default_model_filename=config.default_model_filename or _filename(config, backend),
        optimization=_optimization(config.optimization or ModelOptimizationPolicy()),
        dynamic_batching=_dynamic_batching(config.dynamic_batching, config.max_batch_size),
        sequence_batching=_sequence_batching(config.sequence_batching, config.max_batch_size),
        instance_group=_instance_groups(config, default_instance_count, tuple(gpus)),
    )


def _filename(config: ModelConfig, backend: str) -> str:
    """A python-based backend loads no file by itself: its `runtime` is the code."""
    return "" if config.runtime.endswith(".py") else default_model_filename(backend, config.platform)


_LATEST = ModelVersionPolicy(latest=ModelVersionPolicy.Latest(num_versions=1))
_PINNED = ModelOptimizationPolicy.PinnedMemoryBuffer(enable=True)
_MAX_SEQUENCE_IDLE_MICROSECONDS = 1_000_000


def _optimization(policy: ModelOptimizationPolicy) -> ModelOptimizationPolicy:
    return replace(
        policy,
        input_pinned_memory=policy.input_pinned_memory or _PINNED,
        output_pinned_memory=policy.output_pinned_memory or _PINNED,
    )


def _preferred(sizes: tuple[int, ...], max_batch_size: int) -> tuple[int, ...]:
    return sizes or ((max_batch_size,) if max_batch_size > 0 else ())


def _dynamic_batching(batching: ModelDynamicBatching | None, max_batch_size: int) -> ModelDynamicBatching | None:
    if batching is None:
        return None
    return replace(batching, preferred_batch_size=_preferred(batching.preferred_batch_size, max_batch_size))


def _sequence_batching(batching: ModelSequenceBatching | None, max_batch_size: int) -> ModelSequenceBatching | None:
    if batching is None:
        return None
    idle = batching.max_sequence_idle_microseconds or _MAX_SEQUENCE_IDLE_MICROSECONDS
    oldest = batching.oldest
    if oldest is not None:
        oldest = replace(oldest, preferred_batch_size=_preferred(oldest.preferred_batch_size, max_batch_size))
    return replace(batching, max_sequence_idle_microseconds=idle, oldest=oldest)


def _instance_groups(config: ModelConfig, cpu_count: int, gpus: tuple[int, ...]) -> tuple[ModelInstanceGroup, ...]:
    given = config.instance_group or (ModelInstanceGroup(name=config.name),)
    return tuple(_instance_group(one, f"{config.name}_{i}", cpu_count, gpus) for i, one in enumerate(given))


def _instance_group(group: ModelInstanceGroup, name: str, cpu_count: int, gpus: tuple[int, ...]) -> ModelInstanceGroup:
    kind = group.kind
    if kind is ModelInstanceGroup.Kind.KIND_AUTO:
        on_gpu = bool(group.gpus or gpus)
        kind = ModelInstanceGroup.Kind.KIND_GPU if on_gpu else ModelInstanceGroup.Kind.KIND_CPU
    default = cpu_count if kind is ModelInstanceGroup.Kind.KIND_CPU else 1
    return replace(
        group,
        name=group.name or name,
        kind=kind,
        count=group.count if group.count > 0 else default,
        gpus=group.gpus or (gpus if kind is ModelInstanceGroup.Kind.KIND_GPU else ()),
    )
