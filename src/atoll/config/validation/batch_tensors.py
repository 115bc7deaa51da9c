"""What is wrong with ragged inputs, and with the tensors that the server makes for a batch or cuts by shapes."""

from collections.abc import Iterator, Sequence

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.config.problems import Problem, suggestion
from atoll.tensor import DataType


def batch_tensor_problems(config: ModelConfig, name: str, complete: bool) -> list[Problem]:
    """All of it, in the real server's words where it has any; unless `complete`, autofill may yet name the tensors."""
    return [*_ragged(config, name), *_batch_inputs(config, name, complete), *_batch_outputs(config, name, complete)]


def _ragged(config: ModelConfig, name: str) -> Iterator[Problem]:
    for index, one in enumerate(config.input):
        path = f"input[{index}].allow_ragged_batch"
        if one.allow_ragged_batch and config.max_batch_size == 0:
            message = f"model input '{one.name}' is ragged, but requests of {name} are not joined: max_batch_size is 0"
            remedy = "Set max_batch_size to the largest batch, or remove allow_ragged_batch."
            yield Problem(path, message, "max_batch_size: 0", "1 or more", remedy, warning=True)
        if one.allow_ragged_batch and one.is_shape_tensor:
            message = f"model input '{one.name}' is a shape tensor, which cannot be ragged, for {name}"
            yield Problem(path, message, "is_shape_tensor: true, too", "one of them", "Remove one.")


def _batch_inputs(config: ModelConfig, name: str, complete: bool) -> Iterator[Problem]:
    inputs = {one.name for one in config.input}
    targets: dict[str, int] = {}
    for index, one in enumerate(config.batch_input):
        path = f"batch_input[{index}]"
        if one.data_type not in (DataType.INT32, DataType.FP32):
            message = f"batch input data type must be TYPE_INT32 or TYPE_FP32 for {name}"
            if one.data_type is DataType.INVALID:
                message = "unexpected batch input data type 'TYPE_INVALID'"
            found = one.data_type.config_name
            yield Problem(f"{path}.data_type", message, found, "TYPE_INT32 or TYPE_FP32", "")
        yield from _sources(path, f"batch input kind '{one.kind.name}'", one.source_input, config, name, complete)
        if not one.target_name:
            message = f"batch input kind '{one.kind.name}' has no target for {name}"
            remedy = "Name the model's input, or remove the batch_input: it has no effect."
            yield Problem(f"{path}.target_name", message, "no name", "inputs of the model", remedy, warning=True)
        for target in one.target_name:
            expected = "an input of the model that the server alone fills"
            if not target:
                message = f"batch input target must specify its name for {name}"
                yield Problem(f"{path}.target_name", message, "an empty name", expected, "")
            elif target in inputs:
                message = f"batch input target '{target}' is also an input that clients send for {name}"
                remedy = f"Remove the input '{target}' from the configuration: the server makes it."
                yield Problem(f"{path}.target_name", message, f"'{target}'", expected, remedy)
            elif target in targets:
                message = f"batch input target '{target}' is specified more than once for {name}"
                found = f"the target of batch_input[{targets[target]}] again"
                yield Problem(f"{path}.target_name", message, found, "a name of its own", "Remove one of them.")
            targets.setdefault(target, index)


def _sources(
    path: str, label: str, sources: Sequence[str], config: ModelConfig, name: str, complete: bool
) -> Iterator[Problem]:
    if len(sources) != 1:
        message = f"{label} expects 1 source input, got {len(sources)} for {name}"
        yield Problem(f"{path}.source_input", message, str(len(sources)), "1", "")
    yield from _unknown(path, "source_input", "source input", sources, config.input, name, complete)


def _batch_outputs(config: ModelConfig, name: str, complete: bool) -> Iterator[Problem]:
    inputs = {one.name: one for one in config.input}
    outputs = {one.name: one for one in config.output}
    targets: set[str] = set()
    for index, one in enumerate(config.batch_output):
        path = f"batch_output[{index}]"
        yield from _sources(path, f"batch output kind '{one.kind.name}'", one.source_input, config, name, complete)
        if not one.target_name:
            message = f"batch output kind '{one.kind.name}' has no target for {name}"
            yield Problem(f"{path}.target_name", message, "no name", "outputs of the model", "Name them.")
        yield from _unknown(path, "target_name", "target output", one.target_name, config.output, name, complete)
        for target in one.target_name:
            if target in targets:
                message = f"target output name '{target}' can only be specified once for {name}"
                yield Problem(f"{path}.target_name", message, f"'{target}' again", "each output once", "Remove one.")
            targets.add(target)
            source = inputs.get(one.source_input[0]) if len(one.source_input) == 1 else None
            if source is not None and target in outputs:
                yield from _places(path, outputs[target], source, name)


def _places(path: str, output: ModelOutput, source: ModelInput, name: str) -> Iterator[Problem]:
    """A variable dimension of the output has the size of the input's dimension at its place: there must be one."""
    sizes = output.dims if output.reshape is None else output.reshape.shape
    shape = source.dims if source.reshape is None else source.reshape.shape
    last = max((place for place, dim in enumerate(sizes) if dim < 0), default=-1)
    if source.dims and last >= len(shape):
        message = (
            f"target output '{output.name}' has a variable dimension at place {last}, where source input "
            f"'{source.name}' has no dimension for {name}"
        )
        found = f"output {list(sizes)}, input {list(shape)}"
        remedy = "Give the output's dims the input's order: the sizes of variable dimensions are taken by their place."
        yield Problem(f"{path}.target_name", message, found, "an input with as many dimensions", remedy)


def _unknown(
    path: str,
    key: str,
    label: str,
    names: Sequence[str],
    tensors: Sequence[ModelInput | ModelOutput],
    name: str,
    complete: bool,
) -> Iterator[Problem]:
    if not tensors and not complete:  # autofill has yet to name them
        return
    known = [one.name for one in tensors]
    for one in names:
        if one not in known:
            near = suggestion(one, known)
            remedy = f"Did you mean '{near}'?" if near else ""
            expected = f"one of {', '.join(sorted(known))}" if known else "none: the model has no tensors of this kind"
            message = f"unknown {label} name '{one}' for {name}"
            yield Problem(f"{path}.{key}", message, f"'{one}'", expected, remedy)
