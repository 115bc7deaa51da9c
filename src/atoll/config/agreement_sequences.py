"""Whether the control inputs and states of a sequence batcher are in the model file, and of the type and shape there.

The messages follow the real server's ONNX Runtime backend where it has one for the case.
"""

from collections.abc import Iterator, Mapping, Sequence

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem, suggestion
from atoll.config.sequence_inputs import control_type
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.tensor import DataType

_Known = Mapping[str, TensorSignature]


def sequence_problems(config: ModelConfig, found: ModelSignature) -> Iterator[Problem]:
    """Where they are not."""
    batching = config.sequence_batching
    if batching is None:
        return
    batched = config.max_batch_size > 0
    inputs = {one.name: one for one in found.inputs}
    outputs = {one.name: one for one in found.outputs}
    for index, one in enumerate(batching.control_input):
        if not one.name:
            continue
        path = f"sequence_batching.control_input[{index}]"
        tensor = inputs.get(one.name)
        if tensor is None:
            message = f"configuration specified sequence control '{one.name}', but model does not provide that input"
            yield _unknown(f"{path}.name", message, one.name, inputs)
            continue
        label = f"unable to load model '{config.name}', sequence control '{one.name}'"
        for control in one.control:
            yield from _type(path, label, control_type(control), tensor)
        yield from _control_shape(path, label, tensor, batched)
        if not one.control:
            message = f"{label} has no control: nothing would be put into this input"
            yield Problem(f"{path}.control", message, "none", "one", "Add such as kind: CONTROL_SEQUENCE_START.")
    for index, state in enumerate(batching.state):
        path = f"sequence_batching.state[{index}]"
        for key, name, known in (("input", state.input_name, inputs), ("output", state.output_name, outputs)):
            tensor = known.get(name)
            if not name:
                continue
            if tensor is None:
                message = f"configuration specified state {key} '{name}', but model does not provide that {key}"
                yield _unknown(f"{path}.{key}_name", message, name, known)
                continue
            label = f"unable to load model '{config.name}', state {key} '{name}'"
            yield from _type(path, label, state.data_type, tensor)
            yield from _state_shape(path, label, state.dims, tensor, batched)


def _unknown(path: str, message: str, name: str, known: _Known) -> Problem:
    near = suggestion(name, known)
    remedy = f"Did you mean '{near}'?" if near else "Name the tensor as the model file does."
    return Problem(path, message, f"'{name}'", f"one of the model file's: {', '.join(known) or 'none'}", remedy)


def _type(path: str, label: str, written: DataType, found: TensorSignature) -> Iterator[Problem]:
    if found.may_be(written):
        return
    actual = found.data_type.config_name
    message = (
        f"{label}, the model expects data-type {actual} but the model configuration specifies data-type "
        f"{written.config_name}"
    )
    yield Problem(path, message, written.config_name, f"{actual} as in the model file", f"Use {actual}.")


def _control_shape(path: str, label: str, found: TensorSignature, batched: bool) -> Iterator[Problem]:
    if found.shape is None:
        return
    wanted = (-1, 1) if batched else (1,)
    if _takes(found.shape, wanted, batched):
        return
    dims = found.shape[1:] if batched else found.shape
    message = f"{label} in model has dims {_text(dims)} but dims [1] is expected"
    found_text, expected = f"{_text(found.shape)} in the model file", f"{_text(wanted)}: one element for each item"
    yield Problem(f"{path}.name", message, found_text, expected, "Export the model with an input of that shape.")


def _state_shape(
    path: str, label: str, dims: tuple[int, ...], found: TensorSignature, batched: bool
) -> Iterator[Problem]:
    if found.shape is None or not dims:
        return
    whole = (-1, *dims) if batched else dims
    if _takes(found.shape, whole, batched):
        return
    message = (
        f"{label}: the model expects {len(found.shape)} dimensions (shape {_text(found.shape)}) but the model "
        f"configuration specifies {len(whole)} dimensions (shape {_text(whole)})"
    )
    expected = f"{_text(found.shape[1:] if batched else found.shape)} as in the model file"
    remedy = f"Set dims: {_text(found.shape[1:] if batched else found.shape)}."
    if batched:
        remedy = f"{remedy[:-1]}, without the batch dimension, which max_batch_size stands for."
    yield Problem(f"{path}.dims", message, _text(dims), expected, remedy)


def _takes(shape: Sequence[int], wanted: Sequence[int], batched: bool) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(
        (index == 0 and batched) or given in (-1, size) or size == -1
        for index, (given, size) in enumerate(zip(shape, wanted, strict=True))
    )


def _text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
