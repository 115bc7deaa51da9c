"""How far one request of an ensemble has come: which of its tensors are there, and which steps can run for that.

A step that answers several times makes several values of its tensors, numbered as they come. A step runs once for each
number for which it has all that it takes; so where two such steps meet, their answers go together first with first,
second with second.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from atoll.errors import InvalidArgumentError
from atoll.request import Parameter
from atoll.scheduling.ensemble_graph import EnsembleGraph, GraphStep, Plan
from atoll.tensor import Tensor

Key = tuple[int, int]  # a value: the number of its tensor, and its own


class Launch(NamedTuple):
    """A step that can run now, and with what. `sequence`: what the answers that made its inputs say of the sequence."""

    step: GraphStep
    inputs: dict[str, Tensor]
    sequence: Mapping[str, Parameter] | None


class EnsembleProgress:
    """Of one request. A value that is None is an optional input that the client has left out."""

    __slots__ = ("_counts", "_graph", "_left", "_plan", "_sequences", "_values")

    def __init__(self, graph: EnsembleGraph, plan: Plan):
        self._graph = graph
        self._plan = plan
        self._counts = [0] * len(graph.tensors)  # how many values each tensor has had
        self._values: dict[Key, Tensor | None] = {}  # those that somebody still needs
        self._left: dict[Key, int] = {}  # how often each of them is still needed
        self._sequences: dict[Key, Mapping[str, Parameter]] = {}

    def begin(self, inputs: Mapping[str, Tensor]) -> list[Launch]:
        """The client's inputs are there."""
        return self._ready([self._add(tensor, inputs.get(name)) for name, tensor in self._graph.inputs.items()])

    def arrived(
        self, step: GraphStep, outputs: Iterable[Tensor], sequence: Mapping[str, Parameter] | None = None
    ) -> list[Launch]:
        """A step has given these outputs; the steps that can run for that."""
        added: list[Key] = []
        for output in outputs:
            tensor = step.outputs.get(output.name)
            if tensor is not None:
                key = self._add(tensor, output)
                if sequence:
                    self._sequences[key] = sequence
                added.append(key)
        return self._ready(added)

    def _add(self, tensor: int, value: Tensor | None) -> Key:
        key = (tensor, self._counts[tensor])
        self._counts[tensor] += 1
        uses = self._plan.uses[tensor]
        if uses:
            self._values[key] = value
            self._left[key] = uses
        return key

    def _ready(self, added: Iterable[Key]) -> list[Launch]:
        found: dict[tuple[int, int], None] = {}
        for tensor, number in added:
            for taker in self._plan.takers[tensor]:
                if all((one, number) in self._values for one in self._graph.steps[taker].takes):
                    found[taker, number] = None
        return [self._launch(self._graph.steps[taker], number) for taker, number in found]

    def _launch(self, step: GraphStep, number: int) -> Launch:
        inputs: dict[str, Tensor] = {}
        sequence: Mapping[str, Parameter] | None = None
        for one in step.inputs:
            key = (one.tensor, number)
            value = self._values[key]
            if value is not None:
                inputs[one.name] = one.take(value)
                sequence = self._sequences.get(key, sequence)
        for tensor in step.takes:
            self._used((tensor, number))
        return Launch(step, inputs, sequence)

    def _used(self, key: Key) -> None:
        self._left[key] -= 1
        if not self._left[key]:
            del self._left[key]
            del self._values[key]
            self._sequences.pop(key, None)

    # ---- what it makes

    def outputs(self, number: int = 0) -> list[Tensor] | None:
        """The outputs of this number, under the ensemble's names; None while one of them is not there."""
        if not all((tensor, number) in self._values for tensor in self._plan.wanted):
            return None
        outputs: list[Tensor] = []
        for tensor in self._plan.wanted:
            value = self._values[tensor, number]
            self._used((tensor, number))
            if value is not None:
                outputs.append(self._graph.answers[tensor].take(value))
        return outputs

    def lacking(self) -> InvalidArgumentError:
        """That no step can run any more, and outputs are not there."""
        return InvalidArgumentError(
            f"in ensemble '{self._graph.name}', unexpected deadlock, at least one output is not set while no more "
            "ensemble steps can be made"
        )
