"""The inputs that the server makes for each batch: of `batch_input`, and the masks and lengths of padded inputs."""

from atoll.config.model_config import ModelConfig
from atoll.config.padding import read_padding
from atoll.tensor import DataType


def made_input_types(config: ModelConfig) -> dict[str, DataType]:
    """The data type of each such input, by its name."""
    types = {name: one.data_type for one in config.batch_input for name in one.target_name}
    types.update((made.name, made.data_type) for _, made, _ in read_padding(config).made_inputs())
    return types
