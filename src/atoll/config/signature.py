"""What a backend reports of a model file: its tensors, and whether they have a batch dimension."""

from dataclasses import dataclass

from atoll.config.made_inputs import made_input_types
from atoll.config.model_config import ModelConfig
from atoll.tensor import DataType


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSignature:
    """A tensor as the model file declares it. `shape` is whole, with the batch dimension if there is one and -1 for
    any size; None where the file does not say it. So is `data_type` INVALID then."""

    name: str
    data_type: DataType
    shape: tuple[int, ...] | None
    optional: bool = False

    def may_be(self, data_type: DataType) -> bool:
        """Whether the tensor can be of that type, as far as both sides say."""
        return DataType.INVALID in (data_type, self.data_type) or data_type is self.data_type

    @property
    def type_name(self) -> str:
        """The type as configurations write it, or that it is unknown."""
        return "of unknown type" if self.data_type is DataType.INVALID else self.data_type.config_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """What a backend found in a model file. `batching` says whether the first dimension of every tensor is that of
    the batch; None where the file cannot tell, and then the shapes decide. `max_batch_size` is the largest batch, where
    the file says that; 0 where it does not."""

    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]
    batching: bool | None = None
    max_batch_size: int = 0

    def supports_batching(self) -> bool:
        """Whether requests can be joined along the first dimension.

        Unless the backend knows better, that takes a first dimension of any size in every tensor: the rule of the
        real server's ONNX Runtime backend.
        """
        if self.batching is not None:
            return self.batching
        tensors = (*self.inputs, *self.outputs)
        return bool(tensors) and all(one.shape is not None and one.shape[:1] == (-1,) for one in tensors)


def server_made_inputs(config: ModelConfig) -> set[str]:
    """The model's inputs that no client sends: sequence controls, states, and those computed for each batch."""
    names = set(made_input_types(config))
    if config.sequence_batching is not None:
        names.update(one.name for one in config.sequence_batching.control_input)
        names.update(one.input_name for one in config.sequence_batching.state)
    return names
