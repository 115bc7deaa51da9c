"""Whether a model file takes what the server makes for each batch, and ragged inputs as the server joins them."""

from collections.abc import Iterator

from atoll.config.model_config import BatchInput, ModelConfig, ModelInput
from atoll.config.padding import PATH, read_padding
from atoll.config.problems import Problem
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.tensor import DataType


def ragged_problems(path: str, tensor: ModelInput, found: TensorSignature, model: str) -> Iterator[Problem]:
    """A ragged input reaches the model as one flat tensor of any length, without a batch dimension."""
    if found.shape is None or (len(found.shape) == 1 and found.shape[0] < 0):
        return
    message = (
        f"unable to load model '{model}', configuration expects model provides input with shape [-1]  for ragged input "
        f"'{tensor.name}', model provides {_text(found.shape)}"
    )
    remedy = "Export the model with one dimension of any size there, or remove allow_ragged_batch."
    yield Problem(f"{path}.allow_ragged_batch", message, "true", "false", remedy)


def made_problems(config: ModelConfig, found: ModelSignature) -> Iterator[Problem]:
    """Of the targets of `batch_input`, and of the masks and lengths of padded inputs."""
    signatures = {one.name: one for one in found.inputs}
    for index, one in enumerate(config.batch_input):
        rank = 2 if one.kind is BatchInput.Kind.BATCH_ITEM_SHAPE else 1
        for target in one.target_name:
            label = f"the target '{target}' of batch_input[{index}]"
            keys = f"batch_input[{index}].target_name", f"batch_input[{index}].data_type"
            yield from _made(label, keys, one.data_type, rank, signatures.get(target), found, config.name)
    batched = config.max_batch_size > 0
    dims = {one.name: one.dims for one in config.input}
    for kind, made, padded in read_padding(config).made_inputs():
        variable = sum(dim < 0 for dim in dims.get(padded.name, ()))
        if not variable:  # a problem by itself
            continue
        rank = batched + (variable if kind == "mask" else variable > 1)
        label = f"the {kind} '{made.name}' of padded input '{padded.name}'"
        signature = signatures.get(made.name)
        yield from _made(label, (PATH, PATH), made.data_type, rank, signature, found, config.name)


def _made(
    label: str,
    keys: tuple[str, str],
    data_type: DataType,
    rank: int,
    signature: TensorSignature | None,
    found: ModelSignature,
    model: str,
) -> Iterator[Problem]:
    if signature is None:
        names = ", ".join(one.name for one in found.inputs) or "none"
        message = f"unable to load model '{model}', {label} is no input of the model file"
        yield Problem(keys[0], message, label, f"one of the model file's inputs: {names}", "")
        return
    if not signature.may_be(data_type):
        actual = signature.data_type.config_name
        message = f"unable to load model '{model}', unexpected datatype {data_type.config_name} for {label}"
        yield Problem(keys[1], message, data_type.config_name, f"{actual} as in the model file", f"Set it to {actual}.")
    if signature.shape is not None and len(signature.shape) != rank:
        message = (
            f"unable to load model '{model}', {label} has {rank} dimensions, but the model expects "
            f"{len(signature.shape)} dimensions (shape {_text(signature.shape)})"
        )
        yield Problem(keys[0], message, f"{rank} dimensions", _text(signature.shape), "")


def _text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
