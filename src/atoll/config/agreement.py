"""Whether a configuration agrees with the model file, tensor by tensor, both sides shown.

The messages follow the real server's ONNX Runtime backend where it has one for the case.
"""

from collections.abc import Iterator, Sequence

from atoll.config.agreement_made import made_problems, ragged_problems
from atoll.config.agreement_sequences import sequence_problems
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.config.problems import Problem, suggestion
from atoll.config.signature import ModelSignature, TensorSignature, server_made_inputs


def check(config: ModelConfig, found: ModelSignature) -> list[Problem]:
    """Where a filled-in configuration and the model file disagree: names, types, shapes, batching.

    Outputs of the file that the configuration leaves out are simply not served; inputs must all be there.
    """
    if config.max_batch_size < 0:  # an error by itself; with or without a batch dimension, the shapes cannot be told
        return []
    problems: list[Problem] = []
    batching = config.max_batch_size > 0
    if batching and found.batching is False:
        message = f"model '{config.name}': model does not support batching while non-zero max_batch_size is specified"
        remedy = "Set max_batch_size: 0 and give whole shapes, or export the model with a batch dimension."
        has = f"max_batch_size: {config.max_batch_size}"
        problems.append(Problem("max_batch_size", message, has, "max_batch_size: 0", remedy))
        batching = False
    problems += _missing_inputs(config, found)
    sides: tuple[tuple[str, Sequence[ModelInput | ModelOutput], Sequence[TensorSignature]], ...] = (
        ("input", config.input, found.inputs),
        ("output", config.output, found.outputs),
    )
    scattered = {name for one in config.batch_output for name in one.target_name}
    for kind, tensors, signatures in sides:
        by_name = {one.name: one for one in signatures}
        meant = _meant(config, kind, tensors, signatures)
        for index, tensor in enumerate(tensors):
            path = f"{kind}[{index}]"
            signature = by_name.get(tensor.name)
            if signature is None:
                signature = meant.get(tensor.name)
                problems.append(_unexpected(path, kind, tensor.name, signatures, signature))
            if signature is None:
                continue
            size = config.max_batch_size if batching else 0
            problems += _type(path, kind, tensor, signature, config.name, size)
            if isinstance(tensor, ModelInput) and tensor.allow_ragged_batch:
                problems += ragged_problems(path, tensor, signature, config.name)
            elif kind == "input" or tensor.name not in scattered:  # what is cut by an input's shapes may come in any
                problems += _shape(path, tensor, signature, config.name, size, bool(found.batching))
    problems += made_problems(config, found)
    problems += sequence_problems(config, found)
    return problems


def _meant(
    config: ModelConfig,
    kind: str,
    tensors: Sequence[ModelInput | ModelOutput],
    signatures: Sequence[TensorSignature],
) -> dict[str, TensorSignature]:
    """For names that the model file does not have, the tensor that each likely stands for: one of a similar name, or
    the only one that is left."""
    named = {one.name for one in tensors} | server_made_inputs(config)
    free = {one.name: one for one in signatures if one.name not in named}
    wrong = [one.name for one in tensors if one.name not in {signature.name for signature in signatures}]
    meant: dict[str, TensorSignature] = {}
    for name in wrong:
        near = suggestion(name, free)
        if near is not None:
            meant[name] = free.pop(near)
    left = [name for name in wrong if name not in meant]
    if kind == "input" and len(left) == 1 and len(free) == 1:
        meant[left[0]] = next(iter(free.values()))
    return meant


def _unexpected(
    path: str, kind: str, name: str, signatures: Sequence[TensorSignature], meant: TensorSignature | None
) -> Problem:
    names = ", ".join(one.name for one in signatures)
    message = f"unexpected inference {kind} '{name}', allowed {kind}s are: {names}"
    remedy = f"Did you mean '{meant.name}'?" if meant else "Name the tensor as the model file does."
    return Problem(f"{path}.name", message, f"'{name}'", _listed(signatures), remedy)


_ONE_OF = "one of the model file's: "


def _listed(signatures: Sequence[TensorSignature]) -> str:
    shown = ", ".join(f"{one.name} {one.type_name} {_text(one.shape)}" for one in signatures)
    return f"{_ONE_OF}{shown}" if shown else "none: the model file has none"


def _text(shape: Sequence[int] | None) -> str:
    return "of unknown shape" if shape is None else f"[{','.join(map(str, shape))}]"


def _missing_inputs(config: ModelConfig, found: ModelSignature) -> Iterator[Problem]:
    known = {one.name for one in config.input} | server_made_inputs(config)
    missing = [one for one in found.inputs if one.name not in known and not one.optional]
    names_of_file = {one.name for one in found.inputs}
    misnamed = [one for one in config.input if one.name not in names_of_file]
    if len(missing) <= len(misnamed):  # none is missing, or each goes by a wrong name, of which more is said below
        return
    message = (
        f"unable to load model '{config.name}', configuration expects {len(config.input)} inputs, "
        f"model provides {len(found.inputs)}"
    )
    has = ", ".join(one.name for one in config.input) or "no inputs"
    names = ", ".join(one.name for one in missing)
    remedy = f"Add {names}, or leave all inputs out to have them filled in."
    yield Problem("input", message, has, f"also {_listed(missing).removeprefix(_ONE_OF)}", remedy)


def _type(
    path: str, kind: str, tensor: ModelInput | ModelOutput, found: TensorSignature, model: str, max_batch_size: int
) -> Iterator[Problem]:
    if found.may_be(tensor.data_type):
        return
    configured, actual = tensor.data_type.config_name, found.data_type.config_name
    message = (
        f"unable to load model '{model}', unexpected datatype {configured} for inference {kind} '{tensor.name}', "
        f"expecting {actual}"
    )
    sides = _written(tensor, max_batch_size), _declared(found)
    yield Problem(f"{path}.data_type", message, *sides, f"Set data_type: {actual}.")


def _written(tensor: ModelInput | ModelOutput, max_batch_size: int) -> str:
    """A tensor as the configuration has it, and what the model would see of it."""
    text = f"{tensor.name} {tensor.data_type.config_name} dims: {_text(tensor.dims)}"
    shape = tensor.dims
    if tensor.reshape is not None:
        shape = tensor.reshape.shape
        text += f" reshape.shape: {_text(shape)}"
    if max_batch_size > 0 and tensor.dims:
        text += f", which is {_text((-1, *shape))} with the batch dimension of max_batch_size: {max_batch_size}"
    return text


def _declared(found: TensorSignature) -> str:
    """A tensor as the model file has it."""
    return f"{found.name} {found.type_name} {_text(found.shape)} as in the model file"


def _shape(
    path: str,
    tensor: ModelInput | ModelOutput,
    found: TensorSignature,
    model: str,
    max_batch_size: int,
    batching_known: bool,
) -> Iterator[Problem]:
    batching = max_batch_size > 0
    if found.shape is None or not tensor.dims:
        return
    key = "dims" if tensor.reshape is None else "reshape.shape"
    configured = tensor.dims if tensor.reshape is None else tensor.reshape.shape
    label = f"model '{model}', tensor '{tensor.name}': "
    if batching and not batching_known and found.shape[:1] != (-1,):
        message = (
            f"{label}for the model to support batching the shape should have at least 1 dimension and the first "
            f"dimension must be -1; but shape expected by the model is {_text(found.shape)}"
        )
        remedy = "Set max_batch_size: 0 and give whole shapes, or export the model with a first dimension of any size."
        remedy = (
            f"With max_batch_size: {max_batch_size} the first dimension is the batch, and must take any size. {remedy}"
        )
        yield Problem(f"{path}.{key}", message, _written(tensor, max_batch_size), _declared(found), remedy)
        return
    complete = (-1, *configured) if batching else configured
    if len(complete) == len(found.shape) and all(
        wanted in (-1, given) for given, wanted in list(zip(complete, found.shape, strict=True))[int(batching) :]
    ):
        return
    how = (
        "(an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making complete "
        f"shape {_text(complete)})"
        if batching
        else f"(shape {_text(complete)})"
    )
    message = (
        f"{label}the model expects {len(found.shape)} dimensions (shape {_text(found.shape)}) but the model "
        f"configuration specifies {len(complete)} dimensions {how}"
    )
    expected = found.shape[1:] if batching else found.shape
    remedy = _remedy(key, configured, found.shape, expected, max_batch_size)
    yield Problem(f"{path}.{key}", message, _written(tensor, max_batch_size), _declared(found), remedy)


def _remedy(
    key: str,
    configured: tuple[int, ...],
    actual: tuple[int, ...],
    expected: tuple[int, ...],
    max_batch_size: int,
) -> str:
    batching = max_batch_size > 0
    if batching and len(configured) == len(actual):
        return (
            f"The first dimension of the model's shape is the batch dimension, which max_batch_size: {max_batch_size} "
            f"already stands for: leave it out, {key}: {_text(expected)}, or set max_batch_size: 0."
        )
    if not batching and len(configured) == len(actual) - 1 and actual[0] == -1:
        return (
            "The first dimension of the model's shape is of any size: if it is the batch dimension, set "
            f"max_batch_size to the largest batch; if it is not, put it into {key}: {_text(actual)}."
        )
    if batching:
        return (
            f"Set {key}: {_text(expected)}, without the model's first dimension: that is the batch dimension, which "
            f"max_batch_size: {max_batch_size} stands for."
        )
    return f"Set {key}: {_text(expected)}."
