"""The data types of all tensors of a model: those of clients, and those that the server makes or keeps."""

from atoll.config.made_inputs import made_input_types
from atoll.config.model_config import ModelConfig
from atoll.config.sequence_inputs import sequence_input_types, state_output_types
from atoll.tensor import DataType


def input_types(config: ModelConfig) -> dict[str, DataType]:
    """Of all that a model gets, by name: what clients send, then what the server makes."""
    sent = {one.name: one.data_type for one in config.input}
    return sent | made_input_types(config) | sequence_input_types(config)


def output_types(config: ModelConfig) -> dict[str, DataType]:
    """Of all that a model gives, by name: what clients get, then the states of sequences."""
    return {one.name: one.data_type for one in config.output} | state_output_types(config)
