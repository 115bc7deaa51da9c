"""The models of an ensemble's steps: which ones they are, what is known of them, what is said where one is missing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from atoll.config.model_config import ModelConfig, ModelEnsembling
from atoll.config.problems import Problem, suggestion
from atoll.errors import AtollError, ConfigError
from atoll.models.catalog import ModelKey
from atoll.models.lifecycle import ModelState

_MOST_OF_CIRCLE = 100  # ensembles that are named
_LONGEST = 4000  # characters of another model's error
_MOST_NAMES = 1000  # among which a misspelt one is searched
MOST_NESTED = 32  # ensembles inside each other: a request of theirs is submitted, and answered, by way of all of them
Labels = Mapping[str, tuple[str, ...]]


class UnfitStepsError(ConfigError):
    """The ensemble itself is in order; a model of its steps is missing or does not fit."""


@dataclass(frozen=True, slots=True)
class StepVersion:
    """A version of a step's model: its complete configuration, None where that is not known, and the labels of its
    outputs. `nested`: how many ensembles are inside each other there, itself counted if it is one.
    """

    config: ModelConfig | None
    labels: Labels = field(default_factory=dict)
    nested: int = 0


@dataclass(frozen=True, slots=True)
class StepModel:
    """What is known of a step's model. `key` None: there is no such model, or more than one.

    `versions` are those that are served, or would be if somebody asked; where there are none, `error` is that of its
    last load, if that failed, and `failed` how far its versions came. `names` are those of all models.
    """

    key: ModelKey | None
    versions: Mapping[int, StepVersion] = field(default_factory=dict)
    error: AtollError | None = None
    failed: Mapping[str, tuple[ModelState, str]] = field(default_factory=dict)
    names: tuple[str, ...] = ()


FindStep = Callable[[str], StepModel]
"""From the name of a step's model to what is known of it."""


def resolve(name: str, namespace: str, known: Iterable[ModelKey]) -> ModelKey | None:
    """Which of the models a step of an ensemble in this namespace means: the one beside it, else the only one."""
    found = {key for key in known if key.name == name}
    own = ModelKey(name, namespace)
    if own in found:
        return own
    return found.pop() if len(found) == 1 else None


def choose(ensemble: str, step: ModelEnsembling.Step, index: int, found: StepModel) -> StepVersion | Problem:
    """The version of the step's model that the step asks for, or why there is none."""
    path = f"ensemble_scheduling.step[{index}]"
    if not found.versions:
        return _unavailable(ensemble, step, f"{path}.model_name", found)
    if step.model_version == -1:
        return found.versions[max(found.versions)]
    version = found.versions.get(step.model_version)
    if version is not None:
        return version
    message = f"ensemble '{ensemble}' depends on '{step.model_name}' whose required version {step.model_version} is "
    served = ", ".join(map(str, found.versions))
    remedy = "Ask for one that is served, or change the version_policy of the step's model."
    return Problem(
        f"{path}.model_version", message + "not loaded.", str(step.model_version), f"one of {served}, or -1", remedy
    )


def _unavailable(ensemble: str, step: ModelEnsembling.Step, path: str, found: StepModel) -> Problem:
    name = step.model_name
    if found.error is None:
        message = f"ensemble {ensemble} contains models that are not available or ambiguous: {name}"
        remedy = "Load it first."
        if found.key is None:
            near = suggestion(name, [one for one in found.names if one not in (name, ensemble)][:_MOST_NAMES])
            remedy = f"Did you mean '{near}'?" if near else "Name a model that a repository has, one of that name."
        return Problem(path, message, f"'{name}'", "a model that can be served", remedy)
    if found.failed:
        message = f"ensemble '{ensemble}' depends on '{name}' which has no loaded version. Model '{name}' loading "
        message += "failed with error: " + "".join(
            f"version {version} is at {state.value} state: {_short(reason)};"
            for version, (state, reason) in found.failed.items()
        )
        return Problem(path, message, "", "", "")
    message = f"ensemble '{ensemble}' depends on '{name}' which is not valid. Model '{name}' failed with error: "
    return Problem(path, message + _short(str(found.error)), "", "", "")


def _short(text: str) -> str:
    """It may tell of the same about another ensemble, and that of another."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def nested_in(steps: Iterable["StepVersion | None"]) -> int:
    """`StepVersion.nested` of an ensemble of these."""
    return 1 + max([one.nested for one in steps if one is not None], default=0)


def too_nested(ensemble: str, step: str, index: int) -> Problem:
    """Of a step whose model is nested as deep as a model may be."""
    message = f"ensemble '{ensemble}' has more than {MOST_NESTED} ensembles inside each other, by way of '{step}'"
    remedy = "Let the ensemble have the steps of the inner ones itself."
    path = f"ensemble_scheduling.step[{index}].model_name"
    return Problem(path, message, f"'{step}'", f"at most {MOST_NESTED}", remedy)


def circular(ensemble: str, circle: Iterable[str]) -> Problem:
    """Of ensembles that are each other's steps: `circle` are their names from this one on."""
    names = list(circle)
    following = names[1] if len(names) > 1 else ensemble
    message = f"circular dependency between ensembles: {ensemble} -> ... -> {following} -> {ensemble}"
    remedy = "Take one of them out of the circle."
    if len(names) > _MOST_OF_CIRCLE:
        names[_MOST_OF_CIRCLE:] = [f"{len(names) - _MOST_OF_CIRCLE} more"]
    return Problem("ensemble_scheduling", message, " -> ".join([*names, ensemble]), "no ensemble within itself", remedy)


def labels_of(config: ModelConfig, steps: Iterable[StepVersion]) -> dict[str, tuple[str, ...]]:
    """The labels of an ensemble's outputs, as far as the models have any that make them."""
    ensembling = config.ensemble_scheduling
    assert ensembling is not None, "a model without steps is no ensemble. This is a bug"
    outputs = {one.name for one in config.output}
    return {
        tensor: version.labels[key]
        for step, version in zip(ensembling.step, steps, strict=True)
        for key, tensor in step.output_map.items()
        if tensor in outputs and key in version.labels
    }


def qualified(config: ModelConfig) -> ModelConfig:
    """With each step's model under the name by which the table has it, its namespace included."""
    ensembling = config.ensemble_scheduling
    assert ensembling is not None, "a model without steps is no ensemble. This is a bug"
    steps = tuple(
        replace(one, model_name=str(ModelKey(one.model_name, one.model_namespace))) for one in ensembling.step
    )
    return replace(config, ensemble_scheduling=replace(ensembling, step=steps))
