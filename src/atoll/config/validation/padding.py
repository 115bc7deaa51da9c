"""What is wrong with a model's parameter `padding`: in itself, and beside the model's inputs and outputs."""

from collections import Counter
from collections.abc import Iterator, Sequence

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.config.padding import PATH, CutOutput, PaddedInput, Padding, padding_value, parse_padding
from atoll.config.problems import Problem, suggestion
from atoll.tensor import DataType


def padding_problems(config: ModelConfig, complete: bool) -> list[Problem]:
    """All of it; unless `complete`, what takes names, types and dims that autofill has yet to fill in is left for
    later.
    """
    if "padding" not in config.parameters:
        return []
    padding, problems = parse_padding(config.parameter("padding"))
    batched = config.max_batch_size > 0
    inputs = {one.name: one for one in config.input}
    for padded in padding.inputs.values():
        found = inputs.get(padded.name)
        if found is not None:
            problems += _input(padded, found, batched)
        elif inputs or complete:
            problems.append(_unknown(f"padding.inputs.{padded.name}", "input", padded.name, inputs))
    if padding.separate_buckets and not any(one.buckets for one in padding.inputs.values()):
        where, expected = "padding.separate_buckets", "buckets for at least one input"
        problems.append(
            _problem(where, "there are no buckets to keep apart", "true", expected, "Add them, or remove it.")
        )
    problems += _made(config, padding)
    outputs = {one.name: one for one in config.output}
    for cut in padding.outputs.values():
        output = outputs.get(cut.name)
        if output is not None:
            problems += _output(cut, output, padding, inputs)
        elif outputs or complete:
            problems.append(_unknown(f"padding.outputs.{cut.name}", "output", cut.name, outputs))
        if any(cut.name in one.target_name for one in config.batch_output):
            where = f"padding.outputs.{cut.name}"
            message = "the output is cut by batch_output already"
            problems.append(_problem(where, message, "both", "one of them", "Remove one."))
    return problems


def _problem(where: str, message: str, found: str, expected: str, remedy: str = "") -> Problem:
    return Problem(PATH, f"{where}: {message}", found, expected, remedy)


def _unknown(where: str, kind: str, name: str, known: dict[str, ModelInput] | dict[str, ModelOutput]) -> Problem:
    near = suggestion(name, known)
    remedy = f"Did you mean '{near}'?" if near else ""
    expected = f"one of {', '.join(known)}" if known else "none: it has no tensors of this kind"
    return _problem(where, f"the configuration has no such {kind}", f"'{name}'", expected, remedy)


def variable_dims(dims: Sequence[int]) -> list[int]:
    """Which of the dims are of any size."""
    return [index for index, dim in enumerate(dims) if dim < 0]


def _input(padded: PaddedInput, found: ModelInput, batched: bool) -> Iterator[Problem]:
    where = f"padding.inputs.{padded.name}"
    dims = f"dims {list(found.dims)}"
    if found.allow_ragged_batch:
        message = "a ragged input is not padded"
        yield _problem(where, message, "allow_ragged_batch: true", "one of them", "Remove one.")
    if found.is_shape_tensor:
        yield _problem(where, "a shape tensor is not padded", "is_shape_tensor: true", "false", "Remove it here.")
    if found.dims:
        variable = variable_dims(found.dims)
        if not variable:
            message = "there is nothing to pad: all its dims are fixed"
            yield _problem(where, message, dims, "-1 among them", "Use -1 for the dimension that varies.")
        elif len(padded.buckets) > 1 and len(padded.buckets) != len(variable):
            message = "the buckets are not as many lists as the input has variable dimensions"
            expected = f"one list, or {len(variable)}"
            yield _problem(f"{where}.buckets", message, f"{len(padded.buckets)} lists, {dims}", expected)
    if not batched and not padded.buckets:
        message = "without max_batch_size there is no batch whose longest member it could be padded to"
        yield _problem(where, message, "max_batch_size: 0 and no buckets", "buckets, or a max_batch_size over 0")
    if found.data_type is not DataType.INVALID and padding_value(padded.value, found.data_type) is None:
        message = "the value is none that the input can have"
        expected = f"a {found.data_type.config_name}"
        yield _problem(f"{where}.value", message, repr(padded.value), expected)


def _made(config: ModelConfig, padding: Padding) -> Iterator[Problem]:
    """A mask or a length must be an input that nobody else fills."""
    taken = {one.name: "an input that clients send" for one in config.input}
    taken |= {name: "a target of batch_input" for one in config.batch_input for name in one.target_name}
    if config.sequence_batching is not None:
        taken |= {one.name: "a control of sequence_batching" for one in config.sequence_batching.control_input}
        taken |= {one.input_name: "a state of sequence_batching" for one in config.sequence_batching.state}
    uses = Counter(made.name for _, made, _ in padding.made_inputs())
    for kind, made, padded in padding.made_inputs():
        where = f"padding.inputs.{padded.name}.{kind}"
        expected = "an input of the model that the server alone fills"
        if made.name in taken:
            remedy = f"Remove the input '{made.name}' from the configuration: the server makes it."
            if taken[made.name] != "an input that clients send":
                remedy = "Remove one of the two."
            yield _problem(where, f"'{made.name}' is {taken[made.name]}", f"'{made.name}'", expected, remedy)
        elif uses[made.name] > 1:
            yield _problem(where, f"'{made.name}' is named {uses[made.name]} times", f"'{made.name}'", expected)


def _output(cut: CutOutput, found: ModelOutput, padding: Padding, inputs: dict[str, ModelInput]) -> Iterator[Problem]:
    where = f"padding.outputs.{cut.name}"
    variable = variable_dims(found.dims)
    dims = f"dims {list(found.dims)}"
    if found.dims and not variable:
        message = "there is nothing to cut: all its dims are fixed"
        yield _problem(
            where, message, dims, "-1 among them", "Use -1 for the dimension that varies, or remove it here."
        )
        return
    for name in cut.sources:
        if name is not None and name not in padding.inputs:
            near = suggestion(name, padding.inputs)
            remedy = f"Did you mean '{near}'?" if near else "Add it to padding.inputs."
            expected = f"one of {', '.join(padding.inputs) or 'padding.inputs'}"
            yield _problem(where, f"'{name}' is no padded input", f"'{name}'", expected, remedy)
            return
    sizes = [len(variable_dims(inputs[name].dims)) if name in inputs else 0 for name in cut.sources if name]
    if not found.dims or not all(sizes):  # not known yet, or a problem by itself
        return
    if cut.in_order and sizes[0] != len(variable):
        message = f"it has {len(variable)} variable dimensions, the input '{cut.sources[0]}' has {sizes[0]}"
        remedy = "Give a list instead, with the name of an input or null for each variable dimension of the output."
        yield _problem(where, message, dims, "as many", remedy)
    if not cut.in_order:
        if len(cut.sources) != len(variable):
            message = "the list is not as long as the output has variable dimensions"
            yield _problem(where, message, f"{len(cut.sources)} entries, {dims}", f"{len(variable)}")
        several = [name for name, size in zip([one for one in cut.sources if one], sizes, strict=True) if size > 1]
        for name in several:
            message = f"'{name}' has more than one variable dimension, and nothing says which of them is meant"
            yield _problem(where, message, f"'{name}'", "an input with one variable dimension")
