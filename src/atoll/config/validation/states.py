"""What is wrong with the tensors of a sequence batcher: names of control inputs, states, first values.

The messages are the real server's (2.51) wherever it has one for the case. Where it loads a model with which it then
crashes, or reads memory that nobody has written, ours says what is missing.
"""

from collections.abc import Iterator

from atoll.config.model_config import ModelConfig, ModelSequenceBatching
from atoll.config.problems import Problem
from atoll.tensor import DataType

_State = ModelSequenceBatching.State


def state_problems(config: ModelConfig, batching: ModelSequenceBatching, name: str) -> Iterator[Problem]:
    """All of it."""
    inputs = {one.name: f"input[{index}]" for index, one in enumerate(config.input)}
    yield from _control_names(batching, inputs, name)
    outputs: dict[str, str] = {}
    for index, state in enumerate(batching.state):
        path = f"sequence_batching.state[{index}]"
        yield from _name(state.input_name, f"{path}.input_name", "input", inputs, name)
        yield from _name(state.output_name, f"{path}.output_name", "output", outputs, name)
        yield from _tensor(state, path, name)
        yield from _listed_output(config, state, path, name)
        yield from _initial(state, path)


def _control_names(batching: ModelSequenceBatching, inputs: dict[str, str], name: str) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for index, one in enumerate(batching.control_input):
        path = f"sequence_batching.control_input[{index}]"
        if not one.name:
            continue  # said by others
        if one.name in seen or len(one.control) > 1:
            message = (
                f"sequence batching control tensor '{one.name}' is specified for multiple control kinds for {name}"
            )
            found = f"the name of {seen[one.name]} again" if one.name in seen else f"{len(one.control)} controls"
            yield Problem(path, message, found, "a tensor for each kind", "Give each kind an input of its own.")
        elif one.name in inputs:
            message = f"sequence batching control tensor '{one.name}' is an input that clients send, too, for {name}"
            found = f"the name of {inputs[one.name]} again"
            yield Problem(f"{path}.name", message, found, "a name of its own", "Remove one of them.")
        seen.setdefault(one.name, path)
    inputs.update({one: path for one, path in seen.items() if one not in inputs})


def _name(tensor: str, path: str, kind: str, taken: dict[str, str], name: str) -> Iterator[Problem]:
    if not tensor:
        message = f"sequence batching state must specify '{kind}_name' for {name}"
        yield Problem(path, message, "no name", f"the name of an {kind} of the model", "Add it.")
    elif tensor in taken:
        message = f"sequence batching state {kind} '{tensor}' is specified more than once for {name}"
        found = f"the name of {taken[tensor]} again"
        yield Problem(path, message, found, "a name of its own", "Remove or rename one of them.")
    taken.setdefault(tensor, path.rpartition(".")[0])


def _tensor(state: _State, path: str, name: str) -> Iterator[Problem]:
    label = f"sequence batching state '{state.input_name}'"
    if state.data_type is DataType.INVALID:
        message = f"{label} must specify 'data_type' for {name}"
        yield Problem(f"{path}.data_type", message, "TYPE_INVALID or nothing", "its type", "Add data_type: TYPE_FP32.")
    if not state.dims:
        message = f"{label} must specify 'dims' for {name}"
        yield Problem(f"{path}.dims", message, "no dims", "at least one", "Add dims, with -1 for any size.")
    for index, dim in enumerate(state.dims):
        if dim < -1:
            message = f"{label} dimension must be integer >= 0, or -1 to indicate a variable-size dimension for {name}"
            yield Problem(f"{path}.dims[{index}]", message, str(dim), "0 or more, or -1", "Use -1 for any size.")


def _listed_output(config: ModelConfig, state: _State, path: str, name: str) -> Iterator[Problem]:
    """A state may be an output for clients, too, and is the same tensor then."""
    for index, one in enumerate(config.output):
        if one.name != state.output_name:
            continue
        if one.data_type not in (state.data_type, DataType.INVALID):
            message = f"output '{one.name}' and the state of that name differ in data type for {name}"
            found = f"{state.data_type.config_name}; output[{index}] is {one.data_type.config_name}"
            yield Problem(f"{path}.data_type", message, found, "one type for both", "Correct one of them.")
        if one.dims and one.reshape is None and one.dims != state.dims:
            message = f"output '{one.name}' and the state of that name differ in dims for {name}"
            found = f"{list(state.dims)}; output[{index}] has {list(one.dims)}"
            yield Problem(f"{path}.dims", message, found, "the same dims for both", "Correct one of them.")


def _initial(state: _State, path: str) -> Iterator[Problem]:
    label = f"state input '{state.input_name}'"
    count = len(state.initial_state)
    if count > 1:
        message = f"initial_state field for {label} must contain exactly one or zero element. Found '{count}' elements."
        yield Problem(f"{path}.initial_state", message, f"{count} elements", "at most one", "Keep one.")
    for index, one in enumerate(state.initial_state):
        here = f"{path}.initial_state[{index}]"
        if not one.name:
            message = f"Field 'name' must be set when using initial_state for {label}."
            yield Problem(f"{here}.name", message, "no name", "a name", "Add it.")
        if one.data_type is not state.data_type:
            message = (
                f"The data type used for 'initial_state' field of state '{state.input_name}' does not match the state "
                "data type."
            )
            found, expected = one.data_type.config_name, state.data_type.config_name
            yield Problem(f"{here}.data_type", message, found, expected, f"Set data_type: {expected}.")
        if one.zero_data is None and not one.data_file:
            message = f"initial_state setting expects state'{state.input_name}' to have state_data set"
            yield Problem(here, message, "neither zero_data nor data_file", "one of them", "Add zero_data: true.")
        elif one.zero_data is not None and one.data_file is not None:
            message = f"initial_state of {label} has both 'zero_data' and 'data_file'"
            yield Problem(here, message, "both", "one of them", "Remove one.")
        yield from _initial_dims(state, one.dims, f"{here}.dims", label)


def _initial_dims(state: _State, dims: tuple[int, ...], path: str, label: str) -> Iterator[Problem]:
    if any(dim < 0 for dim in dims):
        message = f"'initial_state' field for state input name '{state.input_name}' contains variable dimensions."
        yield Problem(path, message, str(list(dims)), "fixed sizes", "Write a size for each.")
    elif len(dims) != len(state.dims):
        message = (
            f"Number of dimensions in 'initial_state' doesn't match the size of 'state' dimensions for {label}. "
            f"{len(dims)} != {len(state.dims)}"
        )
        yield Problem(
            path, message, str(list(dims)), f"dims as in the state: {list(state.dims)}", "Correct one of them."
        )
    else:
        for dim, wanted in zip(dims, state.dims, strict=True):
            if wanted not in (dim, -1):
                message = (
                    f"'initial_state' dim for input name '{state.input_name}' doesn't match 'state' dim description. "
                    f"{dim} != {wanted}"
                )
                yield Problem(path, message, str(list(dims)), f"{list(state.dims)}, as the state", "Correct it.")
