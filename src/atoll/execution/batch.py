"""From a model's configuration to the plan by which its batches are joined and split. Pure.

A shape in a request is what the client sees; where the configuration has `reshape`, the model sees another. What most
models need is in joining.py and splitting.py.
"""

from collections.abc import Sequence

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.execution.batch_plan import BatchPlan, HostMemory, InputMaker, OutputCutter, TensorPlan
from atoll.execution.joining import POOLED_BYTES, UNLOCKED_BYTES, join
from atoll.execution.splitting import split
from atoll.request import InferenceRequest

__all__ = [
    "POOLED_BYTES",
    "UNLOCKED_BYTES",
    "BatchPlan",
    "HostMemory",
    "InputMaker",
    "OutputCutter",
    "TensorPlan",
    "join",
    "needed_outputs",
    "plan_batches",
    "split",
]


def plan_batches(config: ModelConfig) -> BatchPlan:
    """The plan of a complete configuration."""
    outputs = tuple(_plan(one) for one in config.output)
    return BatchPlan(
        model_name=config.name,
        batched=config.max_batch_size > 0,
        inputs=tuple(_plan(one) for one in config.input),
        outputs=outputs,
        output_names=tuple(one.name for one in outputs),
    )


def _plan(tensor: ModelInput | ModelOutput) -> TensorPlan:
    reshape = None if tensor.reshape is None else tensor.reshape.shape
    is_plain = reshape is None and all(dim >= 0 for dim in tensor.dims)
    return TensorPlan(tensor.name, tensor.data_type, tensor.dims, reshape, tensor.data_type.dtype, is_plain)


def needed_outputs(requests: Sequence[InferenceRequest], plan: BatchPlan) -> Sequence[str]:
    """The outputs that at least one request of the batch wants, in the model's order."""
    wanted: set[str] = set()
    for request in requests:
        if not request.output_names:
            return plan.output_names
        wanted.update(request.output_names)
    return [name for name in plan.output_names if name in wanted]
