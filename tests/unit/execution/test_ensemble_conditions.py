"""Steps of an ensemble that are skipped: when, and what stands in for what they would have made."""

from collections.abc import Mapping, Sequence

import pytest
from tests.unit.execution.ensembles import Models, Running, Step, ensemble, finish, increment, model, respond, step

from atoll.config.model_config import ModelConfig
from atoll.tensor import Tensor

REFINED = [step("coarse", {"IN": "A"}, {"OUT": "t"}), step("refine", {"IN": "t"}, {"OUT": "Y"})]


def answered(
    config: ModelConfig,
    inputs: Mapping[str, int | Sequence[int] | Tensor],
    known: Sequence[ModelConfig | None] = (),
    **options: object,
) -> tuple[list[str], dict[str, list[int]]]:
    """Which models were asked, and what the client got; every model adds one."""
    models = Models()
    models.behaviours = {one.model_name: increment for one in config.ensemble_scheduling.step}  # type: ignore[union-attr]
    _, sender = Running(config, models, known).submit(inputs, **options)  # type: ignore[arg-type]
    assert sender.finals == 1
    assert sender.responses[0].error is None, sender.error
    return models.names, sender.values[0]


def test_a_step_runs_only_where_its_condition_holds() -> None:
    config = ensemble(REFINED, parameters={"step[1].if": "t < 5", "step[1].else": "Y = t"})
    assert answered(config, {"A": 1}) == (["coarse", "refine"], {"Y": [3]})
    assert answered(config, {"A": 7}) == (["coarse"], {"Y": [8]})


def test_outputs_of_a_skipped_step_are_left_out() -> None:
    config = ensemble(REFINED, outputs=("t", "Y"), parameters={"step[1].if": "t < 5"})
    assert answered(config, {"A": 7}) == (["coarse"], {"t": [8]})


def test_a_condition_on_a_parameter_needs_no_tensor() -> None:
    config = ensemble(REFINED, parameters={"step[1].if": "parameter(refine)", "step[1].else": "Y = t"})
    assert answered(config, {"A": 1}, parameters={"refine": True})[0] == ["coarse", "refine"]
    assert answered(config, {"A": 1}, parameters={"refine": False})[0] == ["coarse"]
    assert answered(config, {"A": 1})[0] == ["coarse"]


def test_of_two_steps_under_opposite_conditions_one_runs() -> None:
    steps = [step("left", {"IN": "A"}, {"OUT": "l"}), step("right", {"IN": "A"}, {"OUT": "r"})]
    steps.append(step("last", {"IN": "r"}, {"OUT": "Y"}))
    conditions = {"step[0].if": "A > 0", "step[1].if": "not (A > 0)", "step[1].else": "r = l"}
    config = ensemble(steps, parameters=conditions)
    assert answered(config, {"A": 5})[0] == ["left", "last"]
    assert answered(config, {"A": -5})[0] == ["right", "last"]


def test_what_only_a_skipped_step_could_feed_is_skipped_too() -> None:
    steps = [*REFINED, step("after", {"IN": "Y"}, {"OUT": "Z"}), step("more", {"IN": "Z"}, {"OUT": "W"})]
    config = ensemble(steps, outputs=("t", "W"), parameters={"step[1].if": "t < 5", "step[3].else": "W = t"})
    assert answered(config, {"A": 7}) == (["coarse"], {"t": [8], "W": [8]})
    assert answered(config, {"A": 1})[0] == ["coarse", "refine", "after", "more"]


def test_a_step_runs_without_an_optional_input_that_was_skipped() -> None:
    steps = [*REFINED, step("after", {"IN": "t", "OPT": "Y"}, {"OUT": "Z"})]
    config = ensemble(steps, outputs=("Z",), parameters={"step[1].if": "t < 5"})
    known = [None, None, model(("IN", "OPT"), optional=("OPT",))]
    assert answered(config, {"A": 7}, known) == (["coarse", "after"], {"Z": [9]})
    assert answered(config, {"A": 7}) == (["coarse"], {})


def test_a_step_waits_for_the_tensor_of_its_condition() -> None:
    steps = [step("judge", {"IN": "A"}, {"OUT": "verdict"}), step("work", {"IN": "A"}, {"OUT": "Y"})]
    config = ensemble(steps, outputs=("verdict", "Y"), parameters={"step[1].if": "verdict == 1"})
    models = Models(work=increment)
    _, sender = Running(config, models).submit({"A": 5})
    assert models.names == ["judge"]
    respond(models.waiting("judge"), OUT=1)
    assert models.names == ["judge", "work"]
    assert sender.values == [{"verdict": [1], "Y": [6]}]


def test_each_answer_of_a_decoupled_step_is_judged_by_itself() -> None:
    config = ensemble(
        [step("many", {"IN": "A"}, {"OUT": "t"}), step("each", {"IN": "t"}, {"OUT": "Y"})],
        decoupled=True,
        parameters={"step[1].if": "t != 2", "step[1].else": "Y = t"},
    )
    models = Models(each=increment)
    _, sender = Running(config, models, [model(decoupled=True), model()]).submit()
    many = models.waiting("many")
    for value in (1, 2, 3):
        respond(many, final=value == 3, OUT=value)
    assert sender.values == [{"Y": [2]}, {"Y": [2]}, {"Y": [4]}]
    assert models.names == ["many", "each", "each"]


@pytest.mark.parametrize("late", [False, True])
def test_a_tensor_with_one_value_judges_all_answers(late: bool) -> None:
    steps: list[Step] = [
        step("many", {"IN": "A"}, {"OUT": "t"}),
        step("judge", {"IN": "A"}, {"OUT": "verdict"}),
        step("each", {"IN": "t"}, {"OUT": "Y"}),
    ]
    config = ensemble(steps, decoupled=True, parameters={"step[2].if": "verdict > 0"})
    models = Models(each=increment)
    _, sender = Running(config, models, [model(decoupled=True), model(), model()]).submit()
    many = models.waiting("many")
    if not late:
        respond(models.waiting("judge"), OUT=1)
    respond(many, final=False, OUT=1)
    respond(many, final=False, OUT=2)
    if late:
        assert not sender.responses
        respond(models.waiting("judge"), OUT=1)
    respond(many, final=False, OUT=3)
    finish(many)
    assert sender.values == [{"Y": [2]}, {"Y": [3]}, {"Y": [4]}]
    assert sender.finals == 1


def test_a_skipped_decoupled_step_counts_as_one_that_answered_once() -> None:
    config = ensemble(
        [step("many", {"IN": "A"}, {"OUT": "t"}), step("each", {"IN": "t"}, {"OUT": "Y"})],
        decoupled=True,
        parameters={"step[0].if": "parameter(stream)", "step[0].else": "t = A"},
    )
    models = Models(each=increment)
    _, sender = Running(config, models, [model(decoupled=True), model()]).submit({"A": 4})
    assert models.names == ["each"]
    assert sender.values == [{"Y": [5]}]
    assert sender.finals == 1


@pytest.mark.parametrize(
    ("condition", "inputs", "text"),
    [
        ("t > 1", {"A": [1, 2]}, "tensor 't' has 2 elements where the condition is about one; any(t) and all(t) are"),
        ('t == "x"', {"A": 1}, "tensor 't' is INT32, which cannot be compared with a text: t == 'x'"),
        ("shape(t)[3] == 1", {"A": 1}, "tensor 't' has shape [1], which has no dimension 3: shape(t)[3] == 1"),
        ("parameter(p) > 1", {"A": 1}, "parameter 'p' is 'x', and is compared with a number: parameter(p) > 1"),
    ],
)
def test_a_condition_that_cannot_be_applied_ends_the_request(condition: str, inputs: dict[str, int], text: str) -> None:
    config = ensemble(REFINED, parameters={"step[1].if": condition})
    _, sender = Running(config, Models(coarse=increment)).submit(inputs, parameters={"p": "x"})
    assert sender.error.startswith(f"in ensemble 'e', the condition of step 1 (refine) cannot be applied: {text}")
    assert sender.finals == 1
