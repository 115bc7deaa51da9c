"""What is wrong with an ensemble's steps, as far as its own configuration can say."""

from collections.abc import Iterator, Mapping
from itertools import islice

from atoll.config.model_config import ModelConfig, ModelEnsembling
from atoll.config.platforms import ENSEMBLE
from atoll.config.problems import Problem, suggestion
from atoll.config.validation.step_conditions import condition_problems

_STEP = "ensemble_scheduling.step"
_MOST_CIRCLES = 20  # that are told of: there are as many as ways through the steps
_MOST_STEPS = 20  # of one circle that are named
_MOST_NAMES = 200  # among which a misspelt one is searched: that takes as long as there are names, for each


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
    if config.model_warmup:
        message = f"model_warmup can not be specified for ensemble '{name}'"
        remedy = "Remove it: the models of its steps have their own."
        yield Problem("model_warmup", message, f"{len(config.model_warmup)} samples", "none", remedy)
    for index, step in enumerate(ensemble.step):
        for key, value in (
            ("model_name", step.model_name),
            ("input_map", step.input_map),
            ("output_map", step.output_map),
        ):
            if not value:
                message = f"must specify '{key}' in step {index} of ensemble '{name}'"
                yield Problem(f"{_STEP}[{index}].{key}", message, "nothing", f"its {key}", "Add it.")
    yield from _wiring(config, ensemble, name)
    yield from condition_problems(config, name)


def _wiring(config: ModelConfig, ensemble: ModelEnsembling, name: str) -> Iterator[Problem]:
    """Whether every tensor comes from somewhere and goes somewhere, once."""
    inputs = {one.name for one in config.input}
    outputs = {one.name for one in config.output}
    taken = {tensor for step in ensemble.step for tensor in step.input_map.values()}
    written: dict[str, int] = {}
    for index, step in enumerate(ensemble.step):
        for key, tensor in step.output_map.items():
            path = f"{_STEP}[{index}].output_map"
            if tensor in written:
                message = f"ensemble tensor '{tensor}' can appear in an output map only once for ensemble '{name}'"
                message += f" step {index}"
                found = f"'{tensor}' again, which step {written[tensor]} writes"
                yield Problem(path, message, found, "a name of its own", "Rename one.")
            elif tensor in inputs:
                message = f"in ensemble {name}, ensemble tensor '{tensor}' is an input and is written by a step as well"
                found = f"output_map {key}: {tensor}"
                yield Problem(path, message, found, "a name of its own", "Rename it, and where later steps take it.")
            written.setdefault(tensor, index)
    waiting = _waiting(config, ensemble, written)
    made = {tensor: index for tensor, index in written.items() if tensor not in inputs}
    for index, tensor_in in enumerate(config.input):
        if tensor_in.name not in taken:
            message = f"ensemble input '{tensor_in.name}' for ensemble {name}' is not used"
            yield Problem(f"input[{index}]", message, "no input_map names it", "a step that takes it", "")
    for index, tensor_out in enumerate(config.output):
        if tensor_out.name not in written:
            message = f"ensemble output '{tensor_out.name}' for ensemble {name}' is not used"
            yield Problem(f"output[{index}]", message, "no output_map names it", "a step that makes it", "")
    known = [*inputs, *written] if len(inputs) + len(written) <= _MOST_NAMES else []
    for index, step in enumerate(ensemble.step):
        for tensor in dict.fromkeys(step.input_map.values()):
            if tensor not in written and tensor not in inputs:
                yield _unmade(tensor, index, known, _said(tensor, waiting, name))
        for tensor in dict.fromkeys(step.output_map.values()):
            if tensor not in taken and tensor not in outputs:
                message = f"ensemble tensor '{tensor}' is unused in ensemble '{name}'"
                remedy = "Remove it from output_map: what a step makes and nobody needs has no place there."
                expected = "a step that takes it, or an output of that name"
                yield Problem(f"{_STEP}[{index}].output_map", message, "nobody takes it", expected, remedy)
    for way, tensors in islice(_circles(ensemble, made), _MOST_CIRCLES):
        message = _said(tensors[-1], waiting, name)
        waits = [
            f"step {step} ({ensemble.step[step].model_name}) waits for '{tensor}'"
            for step, tensor in zip(way, tensors, strict=True)
        ]
        if len(waits) > _MOST_STEPS:
            waits[_MOST_STEPS - 1 : -1] = [f"... {len(waits) - _MOST_STEPS} more steps"]
        found = "a circle: " + ", ".join(waits)
        remedy = "Let one of these steps take a tensor that does not depend on the others."
        yield Problem(f"{_STEP}[{way[0]}].input_map", message, found, "no step that waits for itself", remedy)


def _waiting(config: ModelConfig, ensemble: ModelEnsembling, written: Mapping[str, int]) -> dict[str, str]:
    """Each tensor that an output comes from, however far away, with that output; the first, if there are more."""
    found: dict[str, str] = {}
    for output in config.output:
        left = [output.name]
        while left:
            one = left.pop()
            if one not in found:
                found[one] = output.name
                left += ensemble.step[written[one]].input_map.values() if one in written else ()
    return found


def _said(tensor: str, waiting: Mapping[str, str], name: str) -> str:
    """What the real server says of a tensor that nobody can make."""
    if tensor not in waiting:
        return f"ensemble tensor '{tensor}' is unused in ensemble '{name}'"
    return (
        f"output '{waiting[tensor]}' for ensemble '{name}' is not written: at least one of its depending tensors, "
        f"'{tensor}', is not connected"
    )


def _unmade(tensor: str, index: int, known: list[str], message: str) -> Problem:
    near = suggestion(tensor, known)
    remedy = f"Did you mean '{near}'?" if near else "Name a tensor that is there."
    expected = "an input of the ensemble, or a step that makes it"
    return Problem(f"{_STEP}[{index}].input_map", message, "no input, and no step makes it", expected, remedy)


def _circles(ensemble: ModelEnsembling, written: Mapping[str, int]) -> Iterator[tuple[list[int], list[str]]]:
    """Steps that wait for each other: each with the tensor for which it does."""
    waits = [
        {written[tensor]: tensor for tensor in step.input_map.values() if tensor in written} for step in ensemble.step
    ]
    done: set[int] = set()
    for start in range(len(waits)):
        if start in done:
            continue
        way = {start: None}  # in order
        left = [iter(waits[start])]  # not recursive: an ensemble may have any number of steps
        while left:
            one = next(left[-1], None)
            if one is None:
                left.pop()
                done.add(way.popitem()[0])
            elif one in way:
                circle = list(way)[list(way).index(one) :]
                yield circle, [waits[step][then] for step, then in zip(circle, [*circle[1:], one], strict=True)]
            elif one not in done:
                way[one] = None
                left.append(iter(waits[one]))
