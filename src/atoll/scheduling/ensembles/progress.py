"""How far one request of an ensemble has come: which of its tensors are there, and which steps can run for that.

A decoupled step makes several values of its tensors, numbered as they come. What follows it runs once for each, and
its own values have the same numbers, so that answers which come in another order still go together, and leave in order.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.request import Parameter
from atoll.scheduling.ensembles.conditions import holds
from atoll.scheduling.ensembles.graph import EnsembleGraph, GraphStep, Plan
from atoll.tensor import Tensor


class Missing(Enum):
    """Why a tensor has no data."""

    ABSENT = 0  # an optional input that the client left out, or an output that a model did not give
    SKIPPED = 1  # the step that makes it was skipped


ABSENT: Final = Missing.ABSENT
SKIPPED: Final = Missing.SKIPPED
SEQUENCE_PARAMETERS: Final[Mapping[str, Parameter]] = {
    "sequence_id": 0,
    "sequence_start": False,
    "sequence_end": False,
}  # and what is said where nothing is
Value = Tensor | Missing
Key = tuple[int, int]  # of a value: the number of its tensor, and its own


class Launch(NamedTuple):
    """A step that can run now, and with what. `sequence`: what the answers that made its inputs say of the sequence."""

    step: GraphStep
    number: int
    inputs: dict[str, Tensor]
    sequence: Mapping[str, Parameter] | None


class EnsembleProgress:
    """Of one request with these parameters."""

    __slots__ = ("_answers", "_graph", "_left", "_next", "_parameters", "_plan", "_sequences", "_values")

    def __init__(self, graph: EnsembleGraph, plan: Plan, parameters: Mapping[str, Parameter] | None):
        self._graph = graph
        self._plan = plan
        self._parameters = parameters
        self._values: dict[Key, Value] = {}  # those that somebody still needs
        self._left: dict[Key, int] = {}  # how often each of them is still needed
        self._answers: dict[int, int] = {}  # how often each decoupled step has answered
        self._sequences: dict[Key, Mapping[str, Parameter]] = {}
        self._next = 0  # the number of the outputs that come next

    def begin(self, inputs: Mapping[str, Tensor]) -> list[Launch]:
        """The client's inputs are there. Raises as `arrived`."""
        for name, reshape in self._graph.reshapes.items():
            if name in inputs:
                inputs = {**inputs, name: reshape.apply(inputs[name])}
        return self._spread(
            deque([(tensor, 0, inputs.get(name, ABSENT)) for name, tensor in self._graph.inputs.items()])
        )

    def arrived(
        self,
        step: GraphStep,
        number: int,
        outputs: Iterable[Tensor],
        sequence: Mapping[str, Parameter] | None = None,
    ) -> list[Launch]:
        """The step that was launched under that number has given these outputs; what can run for that.

        Raises InvalidArgumentError where a condition cannot be applied to what is there.
        """
        given: dict[str, Value] = {tensor.name: tensor for tensor in outputs}
        number = self._number(step, number)
        if sequence:
            for tensor in step.outputs.values():
                if self._plan.uses[tensor]:
                    self._sequences[tensor, number] = sequence
        return self._spread(deque([(tensor, number, given.get(name, ABSENT)) for name, tensor in step.outputs.items()]))

    def _number(self, step: GraphStep, launched: int) -> int:
        if not step.decoupled:
            return launched
        number = self._answers.get(step.number, 0)
        self._answers[step.number] = number + 1
        return number

    def _spread(self, arriving: deque[tuple[int, int, Value]]) -> list[Launch]:
        """One value after the other, so that a step becomes ready with exactly one of them."""
        launches: list[Launch] = []
        values, plan, steps = self._values, self._plan, self._graph.steps
        while arriving:
            tensor, number, value = arriving.popleft()
            uses = plan.uses[tensor]
            if not uses:
                continue
            values[tensor, number] = value
            self._left[tensor, number] = uses
            for taker in plan.takers[tensor]:
                step = steps[taker]
                for ready in (number,) if step.takes_one else self._ready_numbers(step, tensor, number):
                    launch = self._launch(step, ready)
                    if launch is not None:
                        launches.append(launch)
                    else:
                        arriving.extend(self._skip(step, ready))
                    for one in step.takes:
                        self._used((one, ready))
        return launches

    def _ready_numbers(self, step: GraphStep, tensor: int, number: int) -> Iterable[int]:
        """For which numbers the step has all that it takes, now that this value has come."""
        values = self._values
        for one in step.shared:
            if (one, 0) not in values:
                return ()
        if tensor in step.shared:
            first, *others = step.takes
            waiting = sorted(own for one, own in values if one == first)
            return [own for own in waiting if all((one, own) in values for one in others)]
        for one in step.takes:
            if (one, number) not in values:
                return ()
        return (number,)

    def _launch(self, step: GraphStep, number: int) -> Launch | None:
        """The step with its inputs; None where it is skipped."""
        inputs: dict[str, Tensor] = {}
        sequence: Mapping[str, Parameter] | None = None
        if step.condition is not None and not self._wanted(step, number):
            return None
        for one in step.inputs:
            key = (one.tensor, 0 if one.shared else number)
            value = self._values[key]
            if value is SKIPPED:
                if not one.optional:
                    return None
            elif value is not ABSENT:
                inputs[one.name] = one.take(value)
                if self._sequences:
                    sequence = self._sequences.get(key, sequence)
        return Launch(step, number, inputs, sequence)

    def _wanted(self, step: GraphStep, number: int) -> bool:
        assert step.condition is not None, "who asks has looked. This is a bug"
        there: dict[str, Tensor] = {}
        for name, tensor in step.looks_at.items():
            value = self._values[tensor, 0 if tensor in step.shared else number]
            if isinstance(value, Tensor):
                there[name] = value
        try:
            return holds(step.condition, there, self._parameters or {})
        except InvalidArgumentError as error:
            raise InvalidArgumentError(
                f"the condition of step {step.number} ({step.model_name}) cannot be applied: {error}"
            ) from None

    def _skip(self, step: GraphStep, number: int) -> list[tuple[int, int, Value]]:
        """What stands in for the step's outputs."""
        found: list[tuple[int, int, Value]] = []
        own = self._number(step, number)
        for tensor in step.outputs.values():
            other = step.otherwise.get(tensor)
            if other is None:
                found.append((tensor, own, SKIPPED))
            else:
                found.append((tensor, own, self._values[other, 0 if other in step.shared else number]))
        return found

    def _used(self, key: Key) -> None:
        left = self._left[key] - 1
        if left:
            self._left[key] = left
            return
        del self._left[key]
        del self._values[key]
        if self._sequences:
            self._sequences.pop(key, None)

    # ---- what it makes

    def outputs(self) -> tuple[list[Tensor], Mapping[str, Parameter] | None] | None:
        """The next outputs, under the ensemble's names, and what was said of their sequence; None while one of them is
        not there. Those that have no data are left out.
        """
        number, values, wanted = self._next, self._values, self._plan.outputs
        for one in wanted:
            if (one.tensor, number) not in values:
                return None
        self._next += 1
        outputs: list[Tensor] = []
        sequence: Mapping[str, Parameter] | None = None
        for one in wanted:
            key = (one.tensor, number)
            value = values[key]
            if isinstance(value, Tensor):
                outputs.append(one.take(value))
                if self._sequences:
                    sequence = self._sequences.get(key, sequence)
            self._used(key)
        return outputs, sequence


def dead_end(request_id: str) -> AtollError:
    """That no step can run any more, and an output is not there: a step ended without an answer."""
    return InvalidArgumentError(
        f"[request id: {request_id or '<id_unknown>'}] unexpected deadlock, at least one output is not set while no "
        "more ensemble steps can be made"
    )


def answered_again(step: GraphStep) -> AtollError:
    """A model that was not decoupled when the ensemble was loaded has answered twice."""
    return InternalError(
        f"step {step.number} ('{step.model_name}') has answered more than once, which it may only if its model is "
        "decoupled"
    )
