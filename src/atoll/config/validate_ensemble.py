"""What is wrong with an ensemble's steps, as far as its own configuration can say."""

from collections.abc import Iterator

from atoll.config.model_config import ModelConfig, ModelEnsembling
from atoll.config.platforms import ENSEMBLE
from atoll.config.problems import Problem


def ensemble_problems(config: ModelConfig, name: str) -> Iterator[Problem]:
    """All of it, as far as the configuration alone can say."""
    ensemble = config.ensemble_scheduling
    if ensemble is None:
        if config.platform == ENSEMBLE:
            message = f"ensemble scheduling must be set for ensemble {name} whose platform is ensemble"
            yield Problem("ensemble_scheduling", message, "nothing", "the ensemble's steps", "Add them.")
        return
    if config.platform != ENSEMBLE:
        message = f"ensemble scheduling cannot be set for model '{name}' whose platform is not ensemble"
        found = f"platform '{config.platform}'"
        yield Problem("platform", message, found, "'ensemble'", 'Set platform: "ensemble", or remove the steps.')
    elif config.backend:
        message = f"Ensemble model '{name}' must have platform type 'ensemble' and empty backend type"
        yield Problem("backend", message, f"'{config.backend}'", "nothing", "Remove it.")
    if not ensemble.step:
        message = f"must specify 'step' for ensemble '{name}'"
        yield Problem("ensemble_scheduling.step", message, "no steps", "at least one", "Add them.")
        return
    for index, step in enumerate(ensemble.step):
        for key, value in (
            ("model_name", step.model_name),
            ("input_map", step.input_map),
            ("output_map", step.output_map),
        ):
            if not value:
                message = f"must specify '{key}' in step {index} of ensemble '{name}'"
                yield Problem(f"ensemble_scheduling.step[{index}].{key}", message, "nothing", f"a {key}", "Add it.")
    yield from _wiring(config, ensemble, name)


def _wiring(config: ModelConfig, ensemble: ModelEnsembling, name: str) -> Iterator[Problem]:
    used = {tensor for step in ensemble.step for tensor in step.input_map.values()}
    written: set[str] = set()
    for index, step in enumerate(ensemble.step):
        for tensor in step.output_map.values():
            if tensor in written:
                message = f"ensemble tensor '{tensor}' can appear in an output map only once for ensemble '{name}'"
                message += f" step {index}"
                path = f"ensemble_scheduling.step[{index}].output_map"
                yield Problem(path, message, f"'{tensor}' again", "a name of its own", "Rename one.")
            written.add(tensor)
    for index, tensor_in in enumerate(config.input):
        if tensor_in.name not in used:
            message = f"ensemble input '{tensor_in.name}' for ensemble {name}' is not used"
            yield Problem(f"input[{index}]", message, "no input_map names it", "a step that takes it", "")
    for index, tensor_out in enumerate(config.output):
        if tensor_out.name not in written:
            message = f"ensemble output '{tensor_out.name}' for ensemble {name}' is not used"
            yield Problem(f"output[{index}]", message, "no output_map names it", "a step that makes it", "")
