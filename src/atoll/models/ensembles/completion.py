"""From what is written about an ensemble, and what is known of its steps' models, to its complete configurations."""

from collections.abc import Mapping

from atoll.config.autofill import normalize
from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem, config_error, errors_of
from atoll.config.validate import validate_config
from atoll.config.validation.steps import composed, step_problems
from atoll.config.written import WrittenConfig
from atoll.models.ensembles.steps import (
    MOST_NESTED,
    FindStep,
    StepVersion,
    UnfitStepsError,
    choose,
    nested_in,
    too_nested,
)

Composed = tuple[ModelConfig, tuple[StepVersion, ...]]


def complete_ensemble(
    name: str,
    versions: Mapping[int, ModelConfig],
    written: WrittenConfig,
    problems: list[Problem],
    find_step: FindStep,
    where: str,
) -> tuple[dict[int, Composed], tuple[Problem, ...]]:
    """By version, the complete configuration and the models of its steps; and what is to be warned of.

    `versions` are the configurations to serve, as they are written; `problems` what is known to be wrong already.
    Nothing is filled in of an ensemble's tensors: as in the real server, they are written. Raises ConfigError with all
    that is wrong, UnfitStepsError where that is only with the steps' models.
    """
    own = [*written.warnings, *written.locate(problems)]
    of_steps: list[Problem] = []
    found: dict[int, Composed] = {}
    common: Composed | None = None
    for version, config in sorted(versions.items(), reverse=True):
        apart = version if version in written.versions else None
        if apart is None and common is not None:
            found[version] = common
            continue
        complete, models, unfit = _composed(config, find_step)
        of_steps += written.locate(unfit, apart)
        own += written.locate(validate_config(complete, name), apart)
        known = tuple(one for one in models if one is not None)
        found[version] = normalize(complete, name=name), known
        if apart is None:
            common = found[version]
    if errors_of(own):
        raise config_error(errors_of([*own, *of_steps]), where)
    if errors_of(of_steps):
        error = config_error(errors_of(of_steps), where)
        raise UnfitStepsError(str(error), error.problems)
    return dict(sorted(found.items())), (*own, *of_steps)


def _composed(config: ModelConfig, find_step: FindStep) -> tuple[ModelConfig, list[StepVersion | None], list[Problem]]:
    """With what it has from its steps' models; these, None for what is missing; and what is wrong with them."""
    ensembling = config.ensemble_scheduling
    if ensembling is None:
        return config, [], []
    unfit: list[Problem] = []
    models: list[StepVersion | None] = []
    namespaces: list[str] = []
    for index, step in enumerate(ensembling.step):
        model = find_step(step.model_name)
        namespaces.append(model.key.namespace if model.key is not None else "")
        chosen = choose(config.name, step, index, model) if step.model_name else None
        if isinstance(chosen, Problem):
            unfit.append(chosen)
            chosen = None
        elif chosen is not None and nested_in([chosen]) > MOST_NESTED:
            unfit.append(too_nested(config.name, step.model_name, index))
        models.append(chosen)
        if step.model_namespace and step.model_namespace != namespaces[-1]:
            message = f"what is written of the namespace of step {index}'s model has no effect"
            expected = "nothing: the model beside the ensemble is taken, else the only one of its name"
            path = f"ensemble_scheduling.step[{index}].model_namespace"
            unfit.append(Problem(path, message, f"'{step.model_namespace}'", expected, "Remove it.", warning=True))
    configs = [None if one is None else one.config for one in models]
    unfit += step_problems(config, configs)
    return composed(config, configs, namespaces), models, unfit
