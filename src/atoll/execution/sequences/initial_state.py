"""What the states of a sequence hold when it starts: zeros, or what a file of the model's folder initial_state says."""

from pathlib import Path

import numpy as np

from atoll.config.model_config import ModelConfig, ModelSequenceBatching
from atoll.config.problems import Problem, config_error
from atoll.errors import AtollError, ConfigError
from atoll.execution.model_file import read_model_file
from atoll.tensor import Array, DataType, element_count, unpack

State = ModelSequenceBatching.State
MAX_STATE_BYTES = 4 << 30  # of one sequence, all its states together
MAX_TEXT_BYTES = 256 << 20  # of a file of strings, of which nobody knows how long they should be
_TEXT_BYTES = 64  # that a string takes in memory, at the least, and a place in an array for it
_MOST_DIMS = 63  # of an array, that of the batch not counted


def initial_states(config: ModelConfig, model_directory: Path) -> dict[str, Array]:
    """The first value of each state of a valid configuration, by the state's input name, with a batch dimension of 1
    where the model has one. Nobody may write to it.

    A state without `initial_state` is zeros, or empty strings, with 1 in the place of each variable dimension. Raises
    ConfigError with everything that is wrong, each with its key.
    """
    found: dict[str, Array] = {}
    problems: list[Problem] = []
    batching = config.sequence_batching
    left = MAX_STATE_BYTES
    for index, state in enumerate(batching.state if batching is not None else ()):
        path = f"sequence_batching.state[{index}]"
        shape = _shape(state)
        byte_size = element_count(shape) * (state.data_type.size or _TEXT_BYTES)
        # an array must be possible with its other dimensions, too, where there is a 0 among them
        taken = element_count([dim or 1 for dim in shape]) * (state.data_type.size or _TEXT_BYTES)
        if len(shape) > _MOST_DIMS:
            message = f"state '{state.input_name}' of model '{config.name}' has too many dims"
            limit = f"at most {_MOST_DIMS}"
            problems.append(Problem(f"{path}.dims", message, str(len(shape)), limit, ""))
            continue
        if taken > left:
            message = f"state '{state.input_name}' of model '{config.name}' is too large: {taken} bytes a sequence"
            limit = f"at most {MAX_STATE_BYTES} bytes for all states of a sequence"
            problems.append(Problem(f"{path}.dims", message, str(list(shape)), limit, "Use smaller dims."))
            continue
        left -= taken
        try:
            array = _value(state, shape, byte_size, model_directory / "initial_state")
        except AtollError as error:
            key = f"{path}.initial_state[0].data_file"
            name = state.initial_state[0].data_file
            problems.append(Problem(key, str(error), f"'{name}'", "", "Correct the file, or name another."))
            continue
        except MemoryError:
            message = f"there is no memory for state '{state.input_name}' of model '{config.name}'"
            problems.append(Problem(f"{path}.dims", message, f"{taken} bytes a sequence", "", "Use smaller dims."))
            continue
        array = array.reshape((1, *shape)) if config.max_batch_size > 0 else array
        array.flags.writeable = False
        found[state.input_name] = array
    if problems:
        raise config_error(problems, f"model '{config.name}'")
    return found


def initial_state_problems(config: ModelConfig, model_directory: Path) -> list[Problem]:
    """What `initial_states` would raise."""
    try:
        initial_states(config, model_directory)
    except ConfigError as error:
        return list(error.problems)
    return []


def _shape(state: State) -> tuple[int, ...]:
    dims = state.initial_state[0].dims if state.initial_state else state.dims
    return tuple([max(dim, 1) if dim < 0 else dim for dim in dims])


def _value(state: State, shape: tuple[int, ...], byte_size: int, directory: Path) -> Array:
    name = state.initial_state[0].data_file if state.initial_state else None
    datatype = state.data_type
    if name is None:
        array = np.zeros(shape, datatype.dtype)
        if datatype is DataType.BYTES:
            array.fill(b"")
        return array
    if datatype is DataType.BYTES:
        data = read_model_file(directory, name, MAX_TEXT_BYTES)
        return unpack(data, datatype, shape, state.input_name)
    data = read_model_file(directory, name, MAX_STATE_BYTES, byte_size)
    if len(data) < byte_size:
        # the real server's words, with its missing blank
        raise ConfigError(
            f"initial_state setting expects {byte_size} bytes, but the data provided from {name}only has {len(data)} "
            "bytes."
        )
    return np.frombuffer(data, datatype.dtype).reshape(shape)
