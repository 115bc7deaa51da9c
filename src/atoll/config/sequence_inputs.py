"""The inputs that a sequence batcher gives a model beside those of its clients: controls and states."""

from atoll.config.model_config import ModelConfig, ModelSequenceBatching
from atoll.tensor import DataType


def control_type(control: ModelSequenceBatching.Control) -> DataType:
    """The data type of a control's input: that of its pair of values, or, of a correlation ID, the one it names."""
    if control.kind is ModelSequenceBatching.Control.Kind.CONTROL_SEQUENCE_CORRID:
        return control.data_type
    if control.int32_false_true:
        return DataType.INT32
    return DataType.FP32 if control.fp32_false_true else DataType.BOOL


def sequence_input_types(config: ModelConfig) -> dict[str, DataType]:
    """The data type of each such input, by its name."""
    batching = config.sequence_batching
    if batching is None:
        return {}
    types = {one.name: control_type(control) for one in batching.control_input for control in one.control}
    types.update((one.input_name, one.data_type) for one in batching.state)
    return types


def state_output_types(config: ModelConfig) -> dict[str, DataType]:
    """The data type of each output that is a state, by its name."""
    batching = config.sequence_batching
    return {} if batching is None else {one.output_name: one.data_type for one in batching.state}
