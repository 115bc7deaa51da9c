"""What is wrong with the conditions of an ensemble's steps: texts, names, and steps that would wait for themselves."""

from collections.abc import Iterator, Mapping, Sequence

from atoll.config.model_config import ModelConfig, ModelEnsembling
from atoll.config.problems import Problem, suggestion
from atoll.config.step_conditions import (
    KEY,
    Comparison,
    Condition,
    ConditionError,
    Joined,
    Not,
    StepCondition,
    Subject,
    parse_condition,
    parse_otherwise,
    step_conditions,
    tensors_of,
)
from atoll.tensor import DataType

_MOST_NAMES = 200  # among which a misspelt one is searched: that takes as long as there are names, for each
_SHOWN = 100  # characters of a condition


def condition_problems(config: ModelConfig, name: str) -> Iterator[Problem]:
    """What is wrong with the conditions of an ensemble whose steps are otherwise in order."""
    ensemble = config.ensemble_scheduling
    if ensemble is None:
        return
    known = {one.name for one in config.input}
    for step in ensemble.step:
        known |= {*step.input_map.values(), *step.output_map.values()}
    found: dict[int, StepCondition] = {}
    for key, parameter in config.parameters.items():
        if not key.startswith("step["):
            continue
        path = f"parameters['{key}']"
        match = KEY.fullmatch(key)
        if match is None:
            message = f"ensemble '{name}' has a parameter of a step that is none"
            yield Problem(path, message, f"'{key}'", "step[0].if or step[0].else, of any step", "Correct the key.")
            continue
        number = int(match[1])
        if number >= len(ensemble.step):
            message = f"ensemble '{name}' has no step {number}"
            yield Problem(path, message, f"'{key}'", f"step[0] to step[{len(ensemble.step) - 1}]", "Correct the key.")
            continue
        try:
            if match[2] == "if":
                read = StepCondition(parse_condition(parameter.string_value), {})
            else:
                read = StepCondition(None, parse_otherwise(parameter.string_value))
        except ConditionError as error:
            what = "a condition, such as score > 0.5" if match[2] == "if" else "tensors, such as refined = coarse"
            message = f"ensemble '{name}', step {number}: {error}"
            yield Problem(path, message, _quoted(parameter.string_value), what, "")
            continue
        problems = list(_names(ensemble.step[number], read, path, known, name, number))
        yield from problems
        if not problems:
            before = found.get(number, StepCondition(None, {}))
            found[number] = StepCondition(read.condition or before.condition, {**before.otherwise, **read.otherwise})
    yield from _circles(ensemble, found, name)


def _quoted(text: str) -> str:
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[:_SHOWN]}...'"


def _names(
    step: ModelEnsembling.Step, read: StepCondition, path: str, known: set[str], name: str, number: int
) -> Iterator[Problem]:
    among = sorted(known) if len(known) <= _MOST_NAMES else []
    for tensor in dict.fromkeys([*tensors_of(read.condition), *read.otherwise.values()]):
        if tensor not in known:
            near = suggestion(tensor, among)
            remedy = f"Did you mean '{near}'?" if near else "A request's parameter is written parameter(name)."
            message = f"ensemble '{name}' has no tensor '{tensor}'"
            yield Problem(path, message, f"'{tensor}'", "an input of the ensemble, or what a step makes", remedy)
    made = set(step.output_map.values())
    for tensor in read.otherwise:
        if tensor not in made:
            message = f"ensemble '{name}': step {number} ({step.model_name}) does not make '{tensor}'"
            expected = f"one of {', '.join(sorted(made))}"
            yield Problem(path, message, f"'{tensor}'", expected, "Name the ensemble's tensor, not the model's.")


def _circles(ensemble: ModelEnsembling, found: Mapping[int, StepCondition], name: str) -> Iterator[Problem]:
    """Steps that could only run after themselves, because of their condition or of what stands in for them."""
    maker = {tensor: number for number, step in enumerate(ensemble.step) for tensor in step.output_map.values()}
    needs: list[set[int]] = []  # by step, the steps that come before it
    for number, step in enumerate(ensemble.step):
        extra = found.get(number, StepCondition(None, {}))
        taken = (*step.input_map.values(), *tensors_of(extra.condition), *extra.otherwise.values())
        needs.append({maker[tensor] for tensor in taken if tensor in maker})
    group = _groups(needs)
    for number, extra in found.items():
        for key, tensors in (("if", list(tensors_of(extra.condition))), ("else", list(extra.otherwise.values()))):
            for tensor in dict.fromkeys(tensors):
                if tensor in maker and group[maker[tensor]] == group[number]:
                    path = f"parameters['step[{number}].{key}']"
                    message = f"ensemble '{name}': '{tensor}' is not there before step {number} has run or been skipped"
                    expected = "a tensor that does not depend on this step"
                    yield Problem(path, message, f"'{tensor}'", expected, "")


def _groups(needs: Sequence[set[int]]) -> list[int]:
    """Of each step the number of its group: those of one group all wait for each other (Tarjan's algorithm, without
    recursion: an ensemble may have any number of steps)."""
    group = [-1] * len(needs)
    order: dict[int, int] = {}  # in which each was come to
    lowest: dict[int, int] = {}  # the earliest that it waits for, itself or by way of others
    waiting: list[int] = []  # come to, and in no group yet
    for start in range(len(needs)):
        way = [] if start in order else [(start, iter(needs[start]))]
        while way:
            step, left = way[-1]
            if step not in order:
                order[step] = lowest[step] = len(order)
                waiting.append(step)
            one = next(left, None)
            if one is None:
                way.pop()
                if way:
                    lowest[way[-1][0]] = min(lowest[way[-1][0]], lowest[step])
                while lowest[step] == order[step] and group[step] < 0:
                    group[waiting.pop()] = order[step]
            elif one not in order:
                way.append((one, iter(needs[one])))
            elif group[one] < 0:
                lowest[step] = min(lowest[step], order[one])
    return group


def condition_type_problems(config: ModelConfig, models: Sequence[ModelConfig | None]) -> Iterator[Problem]:
    """Between the conditions and the types that the tensors have in the steps' models, None where one is not known."""
    ensemble = config.ensemble_scheduling
    if ensemble is None or any(condition_problems(config, config.name)):
        return
    types = {one.name: one.data_type for one in config.input}
    for step, model in zip(ensemble.step, models, strict=True):
        made = {} if model is None else {one.name: one.data_type for one in model.output}
        types |= {tensor: made[key] for key, tensor in step.output_map.items() if key in made}
    for number, extra in step_conditions(config).items():
        for own, other in extra.otherwise.items():
            if own in types and other in types and types[own] is not types[other]:
                message = (
                    f"ensemble '{config.name}': '{other}' cannot take the place of '{own}', which has another type"
                )
                found, expected = types[other].config_name, types[own].config_name
                yield Problem(f"parameters['step[{number}].else']", message, found, expected, "")
        for one in _comparisons(extra.condition):
            kind = types.get(one.name)
            if kind is None or (kind is not DataType.BF16 and (kind is DataType.BYTES) == isinstance(one.value, str)):
                continue
            message = f"ensemble '{config.name}': '{one.name}' cannot be compared with {one.value!r}"
            expected = "a text in quotes" if kind is DataType.BYTES else "a number"
            if kind is DataType.BF16:
                expected = "a tensor of another type: numbers of 16 bits of this kind cannot be compared"
            yield Problem(
                f"parameters['step[{number}].if']", message, f"'{one.name}' is {kind.config_name}", expected, ""
            )


def _comparisons(condition: Condition | None) -> Iterator[Comparison]:
    """Those of tensors' elements."""
    if isinstance(condition, Joined):
        for part in condition.parts:
            yield from _comparisons(part)
    elif isinstance(condition, Not):
        yield from _comparisons(condition.inner)
    elif isinstance(condition, Comparison) and condition.subject in (Subject.ELEMENT, Subject.ANY, Subject.ALL):
        yield condition
