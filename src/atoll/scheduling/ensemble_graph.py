"""An ensemble's steps as a graph: which tensors each takes and makes, who takes them, and what a request needs of it.

Made once, when the ensemble is loaded. Tensors are numbers here: places in `EnsembleGraph.tensors`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

from atoll.config.model_config import ModelConfig, ModelEnsembling
from atoll.tensor import Tensor

NEWEST = -1  # the model_version of a step that is for the newest one
NO_STEP = -1  # the producer of the ensemble's own inputs


class Fit(Enum):
    """What to do where a tensor goes from where there is a batch dimension to where there is none, or back."""

    AS_IS = 0
    ADD_BATCH = 1
    DROP_BATCH = 2


@dataclass(frozen=True, slots=True)
class Taking:
    """A tensor, and what it becomes: an input of a step's model, or an output of the ensemble.

    `dims` are those that are expected there, without the batch dimension.
    """

    name: str
    tensor: int
    dims: tuple[int, ...] = ()
    fit: Fit = Fit.AS_IS
    optional: bool = False

    def take(self, value: Tensor) -> Tensor:
        """The same data, as it is expected."""
        if self.fit is Fit.AS_IS:
            return value.renamed(self.name)
        shape = value.shape
        if self.fit is Fit.ADD_BATCH and matches(shape, self.dims):
            return value.reshaped(self.name, (1, *shape))
        if self.fit is Fit.DROP_BATCH and shape[:1] == (1,) and matches(shape[1:], self.dims):
            return value.reshaped(self.name, shape[1:])
        return value.renamed(self.name)


def matches(shape: Sequence[int], dims: Sequence[int]) -> bool:
    """Whether a shape is one of those that `dims` allow."""
    return len(shape) == len(dims) and all(dim in (-1, size) for size, dim in zip(shape, dims, strict=True))


@dataclass(frozen=True, slots=True)
class GraphStep:
    """One model of the ensemble. `model_version` "" leaves the choice to the model's version policy.

    `outputs` are the model's outputs that the ensemble uses, each with the tensor that it becomes. `takes`: the tensors
    that must be there before it runs, each once.
    """

    number: int
    model_name: str
    model_version: str
    namespace: str
    inputs: tuple[Taking, ...]
    outputs: dict[str, int]
    output_names: tuple[str, ...]
    takes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done for a request that asks for these outputs: `steps` are those that run.

    By tensor: `takers` are the steps that take it, `uses` how often its value is needed. `wanted` are the tensors of
    the outputs.
    """

    steps: frozenset[int]
    takers: tuple[tuple[int, ...], ...]
    uses: tuple[int, ...]
    wanted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EnsembleGraph:
    """Of a valid ensemble. `producers`: of each tensor, the step that makes it, or NO_STEP. `answers`: of each tensor
    that is an output, how it becomes one.

    `most_in_flight`: how many requests of one request's step may run at the same time; 0: any number.
    """

    name: str
    steps: tuple[GraphStep, ...]
    tensors: tuple[str, ...]
    producers: tuple[int, ...]
    inputs: dict[str, int]
    outputs: dict[str, int]
    answers: dict[int, Taking]
    decoupled: bool
    most_in_flight: int
    whole: Plan = field(repr=False)

    def plan(self, output_names: Sequence[str]) -> Plan:
        """For the outputs that a request names; all, if it names none."""
        if not output_names:
            return self.whole
        wanted = [self.outputs[name] for name in dict.fromkeys(output_names)]
        return make_plan(self.steps, len(self.tensors), wanted, frozenset(self.outputs.values()))


def build_graph(config: ModelConfig, models: Sequence[ModelConfig | None] = ()) -> EnsembleGraph:
    """The graph of a valid, complete configuration of an ensemble.

    `models` are the configurations of the steps' models, in the order of the steps, None (or left out) where one is not
    known: tensors then go to it in the shape that they have, and its inputs count as required.
    """
    ensembling = config.ensemble_scheduling
    assert ensembling is not None, "a model without steps is no ensemble. This is a bug"
    known: list[ModelConfig | None] = [*models, *[None] * (len(ensembling.step) - len(models))]
    numbers = _numbers(config, ensembling)
    producers = [NO_STEP] * len(numbers)
    for place, step in enumerate(ensembling.step):
        for tensor in step.output_map.values():
            producers[numbers[tensor]] = place
    own_batched = config.max_batch_size > 0
    batched = [None if model is None else model.max_batch_size > 0 for model in known]

    def fit(tensor: int, there: bool | None) -> Fit:
        here = own_batched if producers[tensor] == NO_STEP else batched[producers[tensor]]
        if here is None or there is None or here == there:
            return Fit.AS_IS
        return Fit.ADD_BATCH if there else Fit.DROP_BATCH

    def takings(place: int, step: ModelEnsembling.Step) -> tuple[Taking, ...]:
        model = known[place]
        expected = {} if model is None else {one.name: one for one in model.input}
        return tuple(
            Taking(name, numbers[tensor], one.dims, fit(numbers[tensor], batched[place]), one.optional)
            if (one := expected.get(name)) is not None
            else Taking(name, numbers[tensor])
            for name, tensor in step.input_map.items()
        )

    steps = tuple(
        GraphStep(
            number=place,
            model_name=step.model_name,
            model_version="" if step.model_version == NEWEST else str(step.model_version),
            namespace=step.model_namespace,
            inputs=takings(place, step),
            outputs={name: numbers[tensor] for name, tensor in step.output_map.items()},
            output_names=tuple(step.output_map),
            takes=tuple(dict.fromkeys(numbers[tensor] for tensor in step.input_map.values())),
        )
        for place, step in enumerate(ensembling.step)
    )
    outputs = {one.name: numbers[one.name] for one in config.output}
    wanted = list(outputs.values())
    return EnsembleGraph(
        name=config.name,
        steps=steps,
        tensors=tuple(numbers),
        producers=tuple(producers),
        inputs={one.name: numbers[one.name] for one in config.input},
        outputs=outputs,
        answers={
            numbers[one.name]: Taking(one.name, numbers[one.name], one.dims, fit(numbers[one.name], own_batched))
            for one in config.output
        },
        decoupled=config.decoupled,
        most_in_flight=ensembling.max_inflight_requests,
        whole=make_plan(steps, len(numbers), wanted, frozenset(wanted)),
    )


def _numbers(config: ModelConfig, ensembling: ModelEnsembling) -> dict[str, int]:
    """Every tensor of the ensemble by name, and its number."""
    names = [
        *(one.name for one in config.input),
        *(tensor for step in ensembling.step for tensor in (*step.input_map.values(), *step.output_map.values())),
        *(one.name for one in config.output),
    ]
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def make_plan(steps: Sequence[GraphStep], tensor_count: int, wanted: Sequence[int], outputs: Collection[int]) -> Plan:
    """Leaves out the steps all of whose outputs would go to outputs of the ensemble that are not wanted, or to steps
    that are left out. One that makes a tensor nobody ever takes does that for its own reasons, and runs.
    """
    takers: list[list[int]] = [[] for _ in range(tensor_count)]
    for step in steps:
        for tensor in step.takes:
            takers[tensor].append(step.number)
    taken = {tensor for tensor in range(tensor_count) if takers[tensor]}
    running = {step.number for step in steps}

    def needed(tensor: int) -> bool:
        return bool(takers[tensor]) or tensor in wanted or (tensor not in outputs and tensor not in taken)

    pruned = True
    while pruned:
        pruned = False
        for step in steps:
            if step.number in running and not any(needed(tensor) for tensor in step.outputs.values()):
                pruned = True
                running.discard(step.number)
                for tensor in step.takes:
                    takers[tensor].remove(step.number)
    return Plan(
        steps=frozenset(running),
        takers=tuple(tuple(one) for one in takers),
        uses=tuple(len(one) + (tensor in wanted) for tensor, one in enumerate(takers)),
        wanted=tuple(wanted),
    )
