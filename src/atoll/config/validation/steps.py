"""What is wrong between an ensemble and the models of its steps: names, types, shapes, batch sizes.

The messages are the real server's (2.51), which stops at the first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from atoll.config.model_config import ModelConfig, ModelEnsembling, ModelInput, ModelOutput, ModelTransactionPolicy
from atoll.config.problems import Problem, suggestion
from atoll.config.validation.step_conditions import condition_type_problems
from atoll.tensor import DataType

_STEP = "ensemble_scheduling.step"


def composed(config: ModelConfig, models: Sequence[ModelConfig | None], namespaces: Sequence[str]) -> ModelConfig:
    """The ensemble's configuration with what it has from its steps' models, None where one is not known.

    It is decoupled where one of them is, whatever it says itself. `namespaces` are those in which the steps' models
    were found; what is written of them does not count. Both as the real server has it.
    """
    ensembling = config.ensemble_scheduling
    assert ensembling is not None, "a model without steps is no ensemble. This is a bug"
    decoupled = any(model is not None and model.decoupled for model in models)
    steps = tuple(
        replace(step, model_namespace=namespace) for step, namespace in zip(ensembling.step, namespaces, strict=True)
    )
    return replace(
        config,
        ensemble_scheduling=replace(ensembling, step=steps),
        model_transaction_policy=ModelTransactionPolicy(decoupled=decoupled),
    )


def step_problems(config: ModelConfig, models: Sequence[ModelConfig | None]) -> list[Problem]:
    """All of it. `models` are the steps' models in the steps' order, each as its version that the step asks for is
    configured; None where it is not known, and nothing is then said of it.
    """
    ensembling = config.ensemble_scheduling
    assert ensembling is not None, "a model without steps is no ensemble. This is a bug"
    problems: list[Problem] = []
    first = {one.name: _Side(config.name, _of_ensemble(one), config.max_batch_size > 0) for one in config.input}
    for index, (step, model) in enumerate(zip(ensembling.step, models, strict=True)):
        if model is not None:
            problems += _batch_size(config, model, index)
            problems += _mapping(config, step, model, index)
            made = {one.name: one for one in model.output}
            for key, tensor in step.output_map.items():
                if key in made:
                    first.setdefault(tensor, _Side(model.name, made[key], model.max_batch_size > 0))
    for position, output in enumerate(config.output):
        side = first.get(output.name)
        if side is not None and side.model != config.name:
            own = _Side(config.name, _of_ensemble(output), config.max_batch_size > 0)
            problems += _disagreement(config.name, output.name, own, side, f"output[{position}]", "")
    places = {one.name: f"input[{index}]" for index, one in enumerate(config.input)}
    for index, (step, model) in enumerate(zip(ensembling.step, models, strict=True)):
        if model is None:
            continue
        taken = {one.name: one for one in model.input}
        for key, tensor in step.input_map.items():
            one, other = first.get(tensor), taken.get(key)
            if one is None or other is None:
                continue
            there = _Side(model.name, other, model.max_batch_size > 0)
            found = _disagreement(
                config.name, tensor, one, there, f"{_STEP}[{index}].input_map", places.get(tensor, "")
            )
            problems += found
    problems += condition_type_problems(config, models)
    return problems


@dataclass(frozen=True, slots=True)
class _Side:
    """A tensor as one of the two that meet at it has it."""

    model: str
    tensor: ModelInput | ModelOutput
    batching: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """With the batch dimension."""
        return (-1, *self.tensor.dims) if self.batching else self.tensor.dims

    def __str__(self) -> str:
        batch = ", with the batch dimension" if self.batching else ""
        return f"{self.model} has {self.tensor.data_type.config_name} {_text(self.shape)}{batch}"


def _of_ensemble(tensor: ModelInput | ModelOutput) -> ModelInput | ModelOutput:
    """As the ensemble's steps see it."""
    return tensor if tensor.reshape is None else replace(tensor, dims=tensor.reshape.shape, reshape=None)


def _batch_size(config: ModelConfig, model: ModelConfig, index: int) -> Iterator[Problem]:
    if 0 < model.max_batch_size < config.max_batch_size:
        message = (
            f"ensemble {config.name} allows maximum batch size {config.max_batch_size}, but it contains model "
            f"{model.name} which only allows maximum batch size to be {model.max_batch_size}"
        )
        found = f"max_batch_size: {config.max_batch_size}, and step {index} has {model.max_batch_size}"
        expected = f"at most {model.max_batch_size}"
        yield Problem("max_batch_size", message, found, expected, "Lower it, or raise that of the step's model.")


def _mapping(config: ModelConfig, step: ModelEnsembling.Step, model: ModelConfig, index: int) -> Iterator[Problem]:
    label = f"in ensemble {config.name}, "
    path = f"{_STEP}[{index}]"
    sides: tuple[tuple[Mapping[str, str], Sequence[ModelInput | ModelOutput], str, str], ...] = (
        (step.input_map, model.input, "input", "mapping to"),
        (step.output_map, model.output, "output", "mapped from"),
    )
    for key, tensor, tensors, kind, verb in (
        (key, tensor, tensors, kind, verb) for names, tensors, kind, verb in sides for key, tensor in names.items()
    ):
        names = [one.name for one in tensors]
        if key in names:
            continue
        message = f"{label}ensemble tensor {tensor} is {verb} non-existing {kind} {key} in model {model.name}"
        near = suggestion(key, names)
        remedy = f"Did you mean '{near}'?" if near else f"Name an {kind} of the model."
        yield Problem(f"{path}.{kind}_map", message, f"'{key}'", f"one of {', '.join(names) or 'none'}", remedy)
    for one in model.input:
        if one.name not in step.input_map and not one.optional:
            message = f"{label}input {one.name} in model {model.name} is not mapped to any ensemble tensors"
            remedy = f"Add '{one.name}' to it, with the tensor that it is to take."
            yield Problem(f"{path}.input_map", message, _maps(step.input_map), f"'{one.name}' among them", remedy)


def _maps(names: Mapping[str, str]) -> str:
    return ", ".join(f"'{one}'" for one in names)


def _disagreement(ensemble: str, tensor: str, one: _Side, other: _Side, path: str, source: str) -> Iterator[Problem]:
    """`source` is where the first side is written, if that is in the ensemble's configuration, and so is the likelier
    place to mend."""
    label = f"in ensemble {ensemble}, ensemble tensor {tensor}: "
    here, there = one.tensor.data_type, other.tensor.data_type
    if here is not there:
        message = (
            f"{label}inconsistent data type: {here.config_name} is inferred from model {one.model} while "
            f"{there.config_name} is inferred from model {other.model}"
        )
        key = f"{source}.data_type" if source else f"{path}.data_type" if path.startswith("output") else path
        remedy = "Give both the same type, or put a step that converts it between them."
        if here is DataType.INVALID:
            remedy = f"Add data_type: {there.config_name}; an ensemble's tensors are not filled in."
        yield Problem(key, message, str(one), str(other), remedy)
    if _fits(one.tensor.dims, other.tensor.dims) or _fits(one.shape, other.shape):
        return
    message = (
        f"{label}inconsistent shape: {_text(one.shape)} is inferred from model {one.model} while {_text(other.shape)} "
        f"is inferred from model {other.model}"
    )
    key = f"{source}.dims" if source else f"{path}.dims" if path.startswith("output") else path
    yield Problem(key, message, str(one), str(other), "Give both the same dims, with -1 where any size will do.")


def _fits(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether these are the same shape wherever both are fixed."""
    return len(one) == len(other) and all(-1 in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True))


def _text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
