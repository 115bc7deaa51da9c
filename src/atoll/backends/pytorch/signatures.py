"""What a model's file says, under the names that a configuration uses."""

from collections.abc import Sequence
from dataclasses import replace

from atoll.backends.pytorch.names import Forward, bind_inputs, bind_outputs
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.config.tensor_types import input_types, output_types
from atoll.errors import ConfigError
from atoll.tensor import DataType


def declared_signature(forward: Forward) -> ModelSignature:
    """Of a model that says its arguments and nothing of their types and shapes."""

    def tensor(name: str, strings: bool) -> TensorSignature:
        datatype = DataType.BYTES if strings else DataType.INVALID
        return TensorSignature(name=name, data_type=datatype, shape=None, optional=name in forward.optional)

    inputs = () if forward.keyed else forward.arguments or ()
    outputs = forward.outputs or tuple(f"OUTPUT__{i}" for i in range(forward.output_count or 0))
    return ModelSignature(
        inputs=tuple(tensor(name, name in forward.strings) for name in inputs),
        outputs=tuple(tensor(name, forward.strings_out) for name in outputs),
    )


def signature_under(config: ModelConfig, model: str, forward: Forward, found: ModelSignature) -> ModelSignature:
    """The signature with the names that the configuration has for the model's tensors, where it has any.

    Raises ConfigError where these names do not fit the model.
    """
    inputs, outputs = found.inputs, found.outputs
    if config.input:
        names = list(input_types(config))
        if forward.keyed:
            inputs = tuple(_unknown(name) for name in names)
        else:
            bound = bind_inputs(model, forward, names)
            inputs = tuple(replace(one, name=name or one.name) for one, name in zip(inputs, bound, strict=True))
    if config.output:
        names = list(output_types(config))
        plan = bind_outputs(model, forward, names)
        if found.outputs:
            by_index = {slot.index: slot.name for slot in plan.slots}
            outputs = tuple(replace(one, name=by_index.get(i, one.name)) for i, one in enumerate(found.outputs))
        else:
            outputs = tuple(_unknown(name) for name in names)
    return replace(found, inputs=inputs, outputs=outputs)


def _unknown(name: str) -> TensorSignature:
    return TensorSignature(name=name, data_type=DataType.INVALID, shape=None)


def refuse_wrong_strings(model: str, config: ModelConfig, forward: Forward, bound: Sequence[str | None]) -> None:
    """Raises ConfigError where the configuration and the model disagree on what is text, or text has several dims."""
    tensors: tuple[ModelInput | ModelOutput, ...] = (*config.input, *config.output)
    for tensor in tensors:
        if tensor.data_type is DataType.BYTES:
            text_shape(model, config, tensor)
    if forward.keyed or forward.arguments is None or not forward.typed:
        return
    texts = {one.name for one in config.input if one.data_type is DataType.BYTES}
    for argument, name in zip(forward.arguments, bound, strict=True):
        if name is None or (name in texts) == (argument in forward.strings) or not forward.strings | texts:
            continue
        configured = next((one.data_type.config_name for one in config.input if one.name == name), "no TYPE_STRING")
        takes = "a List[str], which is TYPE_STRING" if argument in forward.strings else "a Tensor"
        raise ConfigError(
            f"model '{model}': input '{name}' is {configured} in the configuration, but the model's argument "
            f"'{argument}' is {takes}"
        )


def text_shape(model: str, config: ModelConfig, tensor: ModelInput | ModelOutput) -> tuple[int, ...]:
    """The shape of a BYTES tensor, all dimensions 1 but the one of the list, which is -1.

    Raises ConfigError where there are several such dimensions.
    """
    dims = tensor.dims if tensor.reshape is None else tensor.reshape.shape
    shape = (-1, *dims) if config.max_batch_size > 0 else tuple(dims)
    if sum(dim != 1 for dim in shape) > 1:
        expected = "dims: [1]" if config.max_batch_size > 0 else "one dimension"
        raise ConfigError(
            f"model '{model}': '{tensor.name}' is TYPE_STRING with dims: {list(dims)}, but PyTorch has text only in "
            f"lists of one dimension: expected {expected}, with max_batch_size: {config.max_batch_size}"
        )
    if shape and all(dim == 1 for dim in shape):
        return (*shape[:-1], -1)
    return tuple(-1 if dim != 1 else 1 for dim in shape)
