"""The tensors of a sequence model that no client sends or sees: control inputs and implicit state. Pure.

For backends of arrays they are joined over the batch, a row for each request, or slot; models that take requests as
they are get them as inputs of each request.
"""

from collections.abc import Mapping, Sequence

from atoll.config.model_config import ModelConfig
from atoll.execution.batching.plan import BatchPlan, HostMemory
from atoll.execution.batching.splitting import split
from atoll.execution.sequences.controls import control_inputs, step_of
from atoll.execution.sequences.states import SequenceStates
from atoll.request import InferenceRequest
from atoll.scheduling.sequences.filler import filler_beside
from atoll.scheduling.sequences.sequence import Sequence as RequestSequence
from atoll.tensor import Array, Tensor


class SequenceTensors:
    """Of one model; an `InputMaker` (batching/plan.py). `request.sequence` and `request.step` are the batcher's."""

    def __init__(self, config: ModelConfig, plan: BatchPlan, initial: Mapping[str, Array]):
        batching = config.sequence_batching
        assert batching is not None, "a model without sequences has no such tensors. This is a bug"
        self._plan = plan
        self._controls = control_inputs(batching, config.name, config.max_batch_size > 0)
        self.states = SequenceStates(config, initial)
        self._all = (*plan.output_names, *[one for one in self.states.output_names if one not in plan.output_names])
        self._by_slot = batching.oldest is None  # a place in the batch then means something to the model
        # What a request leaves behind for the next one, or whether it is executed again, is known when it is answered.
        self.known_when_answered = bool(self.states) or batching.iterative_sequence

    # ---- into a batch of arrays

    def make(self, requests: Sequence[InferenceRequest], memory: HostMemory | None, inputs: dict[str, Array]) -> None:
        """Add controls and states to the `inputs` of a batch. Raises InvalidArgumentError for a correlation ID that
        the model cannot take."""
        if len(requests) == 1:
            for control in self._controls:
                inputs[control.name] = control.tensor(requests[0]).array()
        else:
            for control in self._controls:
                inputs[control.name] = control.array(requests)
        self.states.join(requests, inputs)

    def needed(self, requests: Sequence[InferenceRequest]) -> Sequence[str]:
        """The outputs that a request of the batch, or a sequence, wants, in the model's order."""
        wanted = set(self.states.output_names)
        for request in requests:
            if request.filler:
                continue
            if not request.output_names:
                return self._all
            wanted.update(request.output_names)
        return [name for name in self._all if name in wanted] or self._all

    def runs(self, requests: Sequence[InferenceRequest]) -> Sequence[Sequence[InferenceRequest]]:
        """The batches that these really are: one, unless states of theirs differ in shape."""
        return self.states.groups(requests) if self.states.vary and len(requests) > 1 else (requests,)

    def alone(self, request: InferenceRequest, batch: Sequence[InferenceRequest]) -> Sequence[InferenceRequest]:
        """The request as a batch of its own; in its slot, where slots have a meaning, and nobody else in the others."""
        if not self._by_slot or len(batch) == 1:
            return (request,)
        return [one if one is request else filler_beside(request, request.inputs) for one in batch]

    # ---- out of it

    def split(
        self,
        outputs: Mapping[str, Array],
        inputs: Mapping[str, Array],
        requests: Sequence[InferenceRequest],
        size: int,
    ) -> tuple[list[InferenceRequest], list[list[Tensor]]]:
        """Keep the states; the requests that somebody waits for, and the outputs of each.

        Raises InternalError, and keeps nothing, where an output is not what the configuration says.
        """
        shares = split(outputs, requests, self._plan, size)
        if self.states:
            self.states.keep(outputs, inputs, requests)
        answered = [index for index, request in enumerate(requests) if not request.filler]
        return [requests[index] for index in answered], [shares[index] for index in answered]

    # ---- of single requests

    def give(self, request: InferenceRequest) -> None:
        """Add controls and states to the request's own inputs. Raises InvalidArgumentError as `make`."""
        inputs = dict(request.inputs)
        for control in self._controls:
            inputs[control.name] = control.tensor(request)
        inputs.update(self.states.tensors(request))
        request.inputs = inputs

    def prepare(self, request: InferenceRequest) -> None:
        """Make a sequence of its own of a request that no batcher has seen (model_warmup). Controls and states that are
        among its inputs are what the model gets."""
        given = dict(request.inputs)
        request.step, correlation_id = step_of(self._controls, given)
        sequence = RequestSequence(correlation_id)
        for name in self.states.input_names:
            tensor = given.pop(name, None)
            if tensor is not None:
                sequence.states[name] = tensor.array()
        request.sequence = sequence
        request.inputs = given
