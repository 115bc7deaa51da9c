"""What an engine says of a model's inputs and outputs, and whether the configuration agrees with it. Pure."""

from collections.abc import Sequence

from atoll.backends.tensorrt.engine import EngineDescription, EngineTensor
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError


def signature_of(engine: EngineDescription, profiles: Sequence[int]) -> ModelSignature:
    """The signature, where instances have these profiles. The shapes of shape tensors are left to the configuration:
    with batches, it may leave the batch size out of them.
    """
    return ModelSignature(
        inputs=tuple(_tensor(one) for one in engine.inputs),
        outputs=tuple(_tensor(one) for one in engine.outputs),
        batching=engine.batches() or None,  # where it does not, the shapes say which tensor is in the way
        max_batch_size=_largest_batch(engine, profiles),
    )


def check_served(config: ModelConfig, engine: EngineDescription, path: object) -> None:
    """Raises ConfigError for tensors that cannot be served, and for shape tensors that the configuration does not
    declare, or declares as such where they are none.
    """
    sides: tuple[tuple[str, Sequence[ModelInput | ModelOutput], Sequence[EngineTensor]], ...] = (
        ("input", config.input, engine.inputs),
        ("output", config.output, engine.outputs),
    )
    for kind, written, found in sides:
        by_name = {one.name: one for one in written}
        for tensor in found:
            _check_layout(kind, tensor, by_name.get(tensor.name), path)
            _check_shape_tensor(kind, tensor, by_name.get(tensor.name), bool(written), path)


def check_batch(config: ModelConfig, engine: EngineDescription, profiles: Sequence[int]) -> None:
    """Raises ConfigError where max_batch_size is more than these profiles take together."""
    if config.max_batch_size < 1:
        return
    most = _largest_batch(engine, profiles)
    if config.max_batch_size > most:
        raise ConfigError(
            f"unable to load model '{config.name}', configuration specified max-batch {config.max_batch_size} but "
            f"TensorRT engine only supports max-batch {most} in the optimization profiles {list(profiles)}; "
            f"set max_batch_size: {most}, or build the engine with a larger profile"
        )


def _largest_batch(engine: EngineDescription, profiles: Sequence[int]) -> int:
    return max(engine.largest_batch(engine.profiles[index]) for index in profiles)


def _tensor(one: EngineTensor) -> TensorSignature:
    return TensorSignature(name=one.name, data_type=one.data_type, shape=None if one.is_shape_tensor else one.shape)


def _check_layout(kind: str, tensor: EngineTensor, written: ModelInput | ModelOutput | None, path: object) -> None:
    if tensor.layout:
        said = " (is_non_linear_format_io is not served here)" if written and written.is_non_linear_format_io else ""
        raise ConfigError(
            f"{kind} '{tensor.name}' of '{path}' has the layout '{tensor.layout}' but must be linear{said}; build the "
            "engine with --inputIOFormats and --outputIOFormats such as fp16:chw, in which elements are in row-major "
            "order"
        )
    if written is not None and written.is_non_linear_format_io:
        raise ConfigError(
            f"{kind} '{tensor.name}' has is_non_linear_format_io: true in the configuration, but is linear in "
            f"'{path}'; remove it"
        )


def _check_shape_tensor(
    kind: str, tensor: EngineTensor, written: ModelInput | ModelOutput | None, any_written: bool, path: object
) -> None:
    if written is None:
        if tensor.is_shape_tensor and (kind == "input" or not any_written):
            raise ConfigError(
                f"{kind} '{tensor.name}' of '{path}' is a shape tensor, which must be declared; write all {kind}s into "
                f'config.pbtxt, and this one as {{ name: "{tensor.name}" data_type: {tensor.data_type.config_name} '
                f"dims: {list(tensor.shape)} is_shape_tensor: true }}"
            )
        return
    if written.is_shape_tensor != tensor.is_shape_tensor:
        said = "true" if written.is_shape_tensor else "false"
        found = "a shape tensor" if tensor.is_shape_tensor else "no shape tensor"
        raise ConfigError(
            f"{kind} '{tensor.name}' has is_shape_tensor: {said} in the configuration, but is {found} in '{path}'; "
            f"{'set is_shape_tensor: true' if tensor.is_shape_tensor else 'remove is_shape_tensor'}"
        )
