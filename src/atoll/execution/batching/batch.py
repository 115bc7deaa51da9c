"""From a model's configuration to the plan by which its batches are joined and split. Pure.

A shape in a request is what the client sees; where the configuration has `reshape`, the model sees another. What most
models need is in joining.py and splitting.py.
"""

from collections.abc import Sequence

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.config.padding import CutOutput, read_padding
from atoll.execution.batching.joining import POOLED_BYTES, UNLOCKED_BYTES, join
from atoll.execution.batching.padding import CutBackOutput, PadInput
from atoll.execution.batching.plan import BatchPlan, HostMemory, InputMaker, OutputCutter, TensorPlan
from atoll.execution.batching.ragged import FlatInput, ScatteredOutput, ShapeInput
from atoll.execution.batching.shape_tensors import CommonInput, CommonOutput
from atoll.execution.batching.splitting import split
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
    """The plan of a complete configuration, in which nothing is wrong."""
    batched = config.max_batch_size > 0
    inputs = {one.name: _plan(one) for one in config.input}
    outputs = tuple(_plan(one) for one in config.output)
    padding = read_padding(config)
    plain: list[TensorPlan] = []
    makers: list[InputMaker] = []
    pads: dict[str, PadInput] = {}
    for one in config.input:
        plan = inputs[one.name]
        if one.allow_ragged_batch:
            makers.append(FlatInput(plan))
        elif one.is_shape_tensor:
            makers.append(CommonInput(plan))
        elif one.name in padding.inputs:
            pads[one.name] = PadInput(padding, plan, batched)
            makers.append(pads[one.name])
        else:
            plain.append(plan)
    makers += [ShapeInput(one, inputs[one.source_input[0]], batched) for one in config.batch_input]
    cutters: dict[str, OutputCutter] = {}
    by_name = {one.name: one for one in outputs}
    for cut in padding.outputs.values():
        cutters[cut.name] = CutBackOutput(by_name[cut.name], _sources(cut, pads), config.name, batched)
    for scatter in config.batch_output:
        source = inputs[scatter.source_input[0]]
        for name in scatter.target_name:
            cutters[name] = ScatteredOutput(scatter, by_name[name], source, config.name, batched)
    if batched:
        shape_tensors = [one.name for one in config.output if one.is_shape_tensor]
        cutters |= {name: CommonOutput(by_name[name], config.name) for name in shape_tensors}
    return BatchPlan(
        model_name=config.name,
        batched=batched,
        inputs=tuple(plain),
        outputs=outputs,
        output_names=tuple(one.name for one in outputs),
        makers=tuple(makers),
        cutters=tuple(cutters.get(one.name) for one in outputs) if cutters else (),
        reshaped=tuple(one for one in inputs.values() if one.reshape is not None),
    )


def _sources(cut: CutOutput, pads: dict[str, PadInput]) -> list[tuple[PadInput, int] | None]:
    if cut.in_order:
        source = pads[str(cut.sources[0])]
        return [(source, number) for number in range(source.variable)]
    return [None if name is None else (pads[name], 0) for name in cut.sources]


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
