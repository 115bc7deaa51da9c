"""An ensemble's steps as a graph: which tensors each takes and makes, and who takes those.

Made once, when the ensemble is loaded. Tensors are numbers here: places in `EnsembleGraph.tensors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atoll.config.model_config import ModelConfig, ModelEnsembling
from atoll.config.step_conditions import Condition, StepCondition, step_conditions, tensors_of
from atoll.config.tensors import ModelOutput
from atoll.scheduling.ensembles.tensors import Fit, Reshape, Taking

NEWEST = -1  # the model_version of a step that is for the newest one
NO_STEP = -1  # the producer of the ensemble's own inputs
MOST_PLANS = 64  # that are kept: a client could ask for every combination of outputs


@dataclass(frozen=True, slots=True)
class GraphStep:
    """One model of the ensemble. `model_version` "" leaves the choice to the model's version policy.

    `outputs` are the model's outputs that the ensemble uses, each with the tensor that it becomes. `takes` are the
    tensors that must be there before it runs, each once; of those, `shared` have one value, where the others may have
    several. `decoupled`: its model may answer any number of times. `condition` looks at `looks_at`, tensors by name;
    `otherwise` are the tensors that take the place of its own when it is skipped.
    """

    number: int
    model_name: str
    model_version: str
    namespace: str
    inputs: tuple[Taking, ...]
    outputs: dict[str, int]
    output_names: tuple[str, ...]
    takes: tuple[int, ...]
    shared: tuple[int, ...]
    takes_one: bool  # one tensor alone: it is ready when that comes
    decoupled: bool
    condition: Condition | None
    looks_at: dict[str, int]
    otherwise: dict[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done for a request that asks for some of the outputs: the steps that run for it.

    By tensor: `takers` are the steps that take it, `uses` how often each of its values is needed.
    """

    steps: frozenset[int]
    takers: tuple[tuple[int, ...], ...]
    uses: tuple[int, ...]
    outputs: tuple[Taking, ...]


@dataclass(frozen=True, slots=True)
class EnsembleGraph:
    """Of a valid ensemble. `decoupled`: one request may have any number of answers. `reshapes`: of those inputs that
    the steps see in another shape than the client.

    `most_in_flight`: how often a step may be running at the same time for one request; 0: any number.
    """

    name: str
    tensors: tuple[str, ...]
    steps: tuple[GraphStep, ...]
    inputs: dict[str, int]
    reshapes: dict[str, Reshape]
    outputs: dict[str, Taking]
    decoupled: bool
    most_in_flight: int
    _whole: Plan = field(repr=False)
    _plans: dict[frozenset[str], Plan] = field(
        default_factory=dict, repr=False, compare=False
    )  # those that were asked for

    def plan(self, output_names: Sequence[str]) -> Plan:
        """For the outputs that a request names; all, if it names none."""
        wanted = frozenset(output_names)
        if not wanted or len(wanted) == len(self.outputs):
            return self._whole
        plan = self._plans.get(wanted)
        if plan is None:
            outputs = tuple(one for name, one in self.outputs.items() if name in wanted)
            plan = _plan(self.steps, len(self.tensors), self.outputs, outputs)
            if len(self._plans) < MOST_PLANS:
                self._plans[wanted] = plan
        return plan


def build_graph(config: ModelConfig, models: Sequence[ModelConfig | None] = ()) -> EnsembleGraph:
    """The graph of a valid, complete configuration of an ensemble.

    `models` are the configurations of the steps' models, in the order of the steps, None (or left out) where one is not
    known: tensors then go to it in the shape that they have, its inputs count as required, and it counts as decoupled
    if the ensemble is.
    """
    ensembling = config.ensemble_scheduling
    assert ensembling is not None, "a model without steps is no ensemble. This is a bug"
    known: list[ModelConfig | None] = [*models, *[None] * (len(ensembling.step) - len(models))]
    conditions = step_conditions(config)
    maker = _Maker(config, ensembling, known, conditions)
    steps = tuple(maker.step(place) for place in range(len(ensembling.step)))
    outputs = {one.name: maker.output(one) for one in config.output}
    batched = config.max_batch_size > 0
    return EnsembleGraph(
        name=config.name,
        tensors=tuple(maker.numbers),
        steps=steps,
        inputs={one.name: maker.numbers[one.name] for one in config.input},
        reshapes={
            one.name: Reshape(one.dims, one.reshape.shape, batched) for one in config.input if one.reshape is not None
        },
        outputs=outputs,
        decoupled=config.decoupled,
        most_in_flight=ensembling.max_inflight_requests,
        _whole=_plan(steps, len(maker.numbers), outputs, tuple(outputs.values())),
    )


class _Maker:
    """What has to be known of the whole before a single step can be made."""

    def __init__(
        self,
        config: ModelConfig,
        ensembling: ModelEnsembling,
        models: Sequence[ModelConfig | None],
        conditions: Mapping[int, StepCondition],
    ):
        self._config = config
        self._steps = ensembling.step
        self._models = models
        self._conditions = conditions
        names = [one.name for one in config.input]
        for step in ensembling.step:
            names += [*step.input_map.values(), *step.output_map.values()]
        names += [one.name for one in config.output]
        self.numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        self._producers = [NO_STEP] * len(self.numbers)
        for place, step in enumerate(ensembling.step):
            for tensor in step.output_map.values():
                self._producers[self.numbers[tensor]] = place
        self._many = self._of_many_values()

    def _takes(self, place: int) -> list[int]:
        extra = self._conditions.get(place)
        names = list(self._steps[place].input_map.values())
        if extra is not None:
            names += [*tensors_of(extra.condition), *extra.otherwise.values()]
        return [self.numbers[name] for name in dict.fromkeys(names)]

    def _is_decoupled(self, place: int) -> bool:
        model = self._models[place]
        return self._config.decoupled and (model is None or model.decoupled)

    def _of_many_values(self) -> set[int]:
        """The tensors that come from a decoupled step, or from a step that takes one that does."""
        many: set[int] = set()
        grown = self._config.decoupled
        while grown:
            before = len(many)
            for place, step in enumerate(self._steps):
                if self._is_decoupled(place) or not many.isdisjoint(self._takes(place)):
                    many.update(self.numbers[tensor] for tensor in step.output_map.values())
            grown = len(many) > before
        return many

    def _fit(self, tensor: int, there: bool | None) -> Fit:
        producer = self._producers[tensor]
        here = self._config.max_batch_size > 0 if producer == NO_STEP else self._batched(producer)
        if here is None or there is None or here == there:
            return Fit.AS_IS
        return Fit.ADD_BATCH if there else Fit.DROP_BATCH

    def _batched(self, place: int) -> bool | None:
        model = self._models[place]
        return None if model is None else model.max_batch_size > 0

    def step(self, place: int) -> GraphStep:
        step, model, extra = self._steps[place], self._models[place], self._conditions.get(place)
        expected = {} if model is None else {one.name: one for one in model.input}
        takes = self._takes(place)
        shared = [] if self._many.isdisjoint(takes) else [one for one in takes if one not in self._many]
        inputs = []
        for name, tensor_name in step.input_map.items():
            tensor, one = self.numbers[tensor_name], expected.get(name)
            fit = Fit.AS_IS if one is None else self._fit(tensor, self._batched(place))
            dims, optional = ((), False) if one is None else (one.dims, one.optional)
            inputs.append(Taking(name, tensor, dims, fit, optional, tensor in shared))
        condition, otherwise = (None, {}) if extra is None else (extra.condition, extra.otherwise)
        return GraphStep(
            number=place,
            model_name=step.model_name,
            model_version="" if step.model_version == NEWEST else str(step.model_version),
            namespace=step.model_namespace,
            inputs=tuple(inputs),
            outputs={name: self.numbers[tensor] for name, tensor in step.output_map.items()},
            output_names=tuple(step.output_map),
            takes=tuple(one for one in takes if one not in shared),
            shared=tuple(shared),
            takes_one=len(takes) == 1,
            decoupled=self._is_decoupled(place),
            condition=condition,
            looks_at={name: self.numbers[name] for name in tensors_of(condition)},
            otherwise={self.numbers[own]: self.numbers[other] for own, other in otherwise.items()},
        )

    def output(self, output: ModelOutput) -> Taking:
        tensor = self.numbers[output.name]
        batched = self._config.max_batch_size > 0
        fit = self._fit(tensor, batched)
        if output.reshape is None:
            return Taking(output.name, tensor, output.dims, fit)
        inner = output.reshape.shape
        return Taking(output.name, tensor, inner, fit, reshape=Reshape(inner, output.dims, batched))


def _plan(
    steps: Sequence[GraphStep], tensor_count: int, outputs: Mapping[str, Taking], wanted: tuple[Taking, ...]
) -> Plan:
    """Leaves out the steps all of whose tensors would go to outputs that are not wanted, or to steps left out."""
    takers: list[list[int]] = [[] for _ in range(tensor_count)]
    for step in steps:
        for tensor in (*step.takes, *step.shared):
            takers[tensor].append(step.number)
    kept = {one.tensor for one in wanted}
    running = {step.number for step in steps}
    shrunk = len(wanted) < len(outputs)
    while shrunk:
        shrunk = False
        for step in reversed(steps):
            if step.number in running and not any(takers[one] or one in kept for one in step.outputs.values()):
                shrunk = True
                running.discard(step.number)
                for tensor in (*step.takes, *step.shared):
                    takers[tensor].remove(step.number)
    uses = [len(one) for one in takers]
    for tensor in kept:
        uses[tensor] += 1
    for step in steps:
        for tensor in step.shared if step.number in running else ():
            uses[tensor] += 1  # never used up: nobody knows how many values the others will have
    return Plan(frozenset(running), tuple(tuple(one) for one in takers), tuple(uses), wanted)
