"""The texts of conditions of an ensemble's steps: what they mean, and what is wrong with them."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelEnsembling, ModelInput, ModelOutput, ModelParameter
from atoll.config.step_conditions import (
    ConditionError,
    StepCondition,
    parse_condition,
    parse_otherwise,
    step_conditions,
    tensors_of,
)
from atoll.config.validation import step_conditions as validation
from atoll.config.validation.step_conditions import condition_problems, condition_type_problems
from atoll.scheduling.ensembles.conditions import holds
from atoll.tensor import DataType, Tensor


def tensor(value: Any) -> Tensor:
    return Tensor.from_numpy("", np.array(value))


TENSORS = {
    "score": tensor(np.array([[0.7]], np.float32)),
    "many": tensor([1, 5, 5]),
    "label": tensor(["cat"]),
    "flag": tensor([False]),
    "half": tensor(np.array([1], np.float16)),
    "none": tensor(np.zeros((0, 4), np.int32)),
    "odd name": tensor([1]),
}
PARAMETERS = {"mode": "fast", "level": 3, "on": True, "off": False, "ratio": 0.5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("score > 0.5", True),
        ("score>=7e-1", True),  # a number counts as one of the tensor's type
        ("score < -1", False),
        ("any(many) == 5", True),
        ("all(many) == 5", False),
        ("all(many) >= 1", True),
        ("any(none) == 1", False),
        ("all(none) == 1", True),
        ("half < 1e9", True),
        ("any(many) < 10000000000", True),
        ("size(none) == 0", True),
        ("shape(none)[-1] == 4", True),
        ("shape(many)[0] != 3", False),
        ("label == \"cat\" and label != 'dog'", True),
        ("any(label) == 'dog' or score > 0.5", True),
        ("flag", False),
        ("flag < 18446744073709551615", True),
        ("flag == 0", True),
        (f"flag < {'9' * 400}", True),
        (f"score < {'9' * 400}", True),
        (f"score < -{'9' * 4000}", False),
        (f"half == {'9' * 400}", False),
        (f"all(many) < {'9' * 400}", True),
        (f"size(many) < {'9' * 400}", True),
        (f"parameter(ratio) > {'9' * 400}", False),
        ("not flag", True),
        ("flag == false", True),
        ('"odd name" == 1', True),
        ("parameter(mode) == 'fast'", True),
        ("parameter(level) >= 3 and parameter(ratio) < 1", True),
        ("parameter(on) and not parameter(off)", True),
        ("given(score) and given(parameter(mode))", True),
        ("given(nothing) or given(parameter(nothing))", False),
        ("nothing == 1 or nothing != 1 or parameter(nothing) != 1", False),
        ("flag and flag or score > 0.5", True),
        ("flag and (flag or score > 0.5)", False),
        ("not not (score > 0.5)", True),
    ],
)
def test_what_a_condition_means(text: str, expected: bool) -> None:
    assert holds(parse_condition(text), TENSORS, PARAMETERS) is expected


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "it ends where a name is expected"),
        ("score >", "it ends where a number, a text in quotes, true or false is expected"),
        ("> 3", "expected a name at character 1, found '>'"),
        ("score = 3", "expected the end at character 7, found '='"),
        ("and", "expected a tensor's name at character 1, found 'and'"),
        ("score > 1 and", "it ends where a name is expected"),
        ("(score > 1", "it ends where ')' is expected"),
        ("label < 'a'", "'<' compares numbers; a text or a truth value is == or != another"),
        ("score > 1 2", "expected the end at character 11, found '2'"),
        ("shape(x) == 2", "expected '[' at character 10, found '=='"),
        ("shape(x)[1.5] == 2", "expected the number of a dimension at character 10, found '1.5'"),
        ("size(x)", "size is a number, and needs one to be compared with"),
        ("shape(x)[0] == 'a'", "shape is a number, and needs one to be compared with"),
        ("  @", "unexpected '@' at character 3"),
        ("any(", "it ends where a name is expected"),
        ("x == y", "expected a number, a text in quotes, true or false at character 6, found 'y'"),
        ("__import__('os')", "expected the end at character 11, found '('"),
        ("(" * 40 + "a" + ")" * 40, "more than 32 conditions inside each other"),
        ("not " * 40 + "a", "more than 32 conditions inside each other"),
        ("a" * 5000, "it is longer than 4096 characters"),
    ],
)
def test_what_is_wrong_with_a_text_is_said_with_its_place(text: str, wrong: str) -> None:
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    assert str(caught.value) == wrong


@given(st.text(max_size=60) | st.text("()[]<>=!\"'\\ aornt.5,-", max_size=60))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    for parse in (parse_condition, parse_otherwise):
        with suppress(ConditionError):
            parse(text)


def test_what_stands_in_is_written_as_pairs() -> None:
    assert parse_otherwise("a = b, \"c d\"='e'") == {"a": "b", "c d": "e"}
    for text in ("", "a", "a = b c = d", "a = b,", "a = 1", "a = b, a = c"):
        with pytest.raises(ConditionError):
            parse_otherwise(text)


def test_the_tensors_that_a_condition_looks_at() -> None:
    text = "a > 1 and (any(b) == 2 or not given(c)) and parameter(d) and shape(e)[0] == 1 and given(parameter(f))"
    assert list(tensors_of(parse_condition(text))) == ["a", "b", "c", "e"]


Step = ModelEnsembling.Step


def ensemble(**parameters: str) -> ModelConfig:
    steps = (
        Step(model_name="one", input_map={"IN": "A"}, output_map={"OUT": "t"}),
        Step(model_name="two", input_map={"IN": "t"}, output_map={"OUT": "u"}),
        Step(model_name="three", input_map={"IN": "u"}, output_map={"OUT": "Y"}),
    )
    return ModelConfig(
        name="e",
        platform="ensemble",
        input=(ModelInput(name="A", data_type=DataType.INT32, dims=(1,)),),
        output=(ModelOutput(name="Y", data_type=DataType.INT32, dims=(1,)),),
        ensemble_scheduling=ModelEnsembling(step=steps),
        parameters={key: ModelParameter(string_value=value) for key, value in parameters.items()},
    )


def test_conditions_of_a_configuration() -> None:
    config = ensemble(**{"step[1].if": "t > 1", "step[1].else": "u = t", "step[2].else": "Y = A", "other": "x"})
    assert list(condition_problems(config, "e")) == []
    assert step_conditions(config) == {
        1: StepCondition(parse_condition("t > 1"), {"u": "t"}),
        2: StepCondition(None, {"Y": "A"}),
    }


@pytest.mark.parametrize(
    ("key", "value", "message", "expected"),
    [
        ("step[1].when", "t > 1", "ensemble 'e' has a parameter of a step that is none", "step[0].if"),
        ("step[x].if", "t > 1", "ensemble 'e' has a parameter of a step that is none", "step[0].if"),
        ("step[3].if", "t > 1", "ensemble 'e' has no step 3", "step[0] to step[2]"),
        ("step[1].if", "t >", "ensemble 'e', step 1: it ends where a number", "a condition, such as"),
        ("step[1].if", "", "ensemble 'e', step 1: it ends where a name", "a condition, such as"),
        ("step[1].else", "u", "ensemble 'e', step 1: it ends where '=' is expected", "tensors, such as"),
        ("step[1].if", "tt > 1", "ensemble 'e' has no tensor 'tt'", "an input of the ensemble"),
        ("step[1].else", "u = x", "ensemble 'e' has no tensor 'x'", "an input of the ensemble"),
        ("step[1].else", "OUT = t", "ensemble 'e': step 1 (two) does not make 'OUT'", "one of u"),
        ("step[1].if", "u > 1", "ensemble 'e': 'u' is not there before step 1 has run", "a tensor that"),
        ("step[1].if", "Y > 1", "ensemble 'e': 'Y' is not there before step 1 has run", "a tensor that"),
        ("step[1].else", "u = Y", "ensemble 'e': 'Y' is not there before step 1 has run", "a tensor that"),
        ("step[1].else", "u = u", "ensemble 'e': 'u' is not there before step 1 has run", "a tensor that"),
    ],
)
def test_what_is_wrong_with_a_condition_is_said_by_its_key(key: str, value: str, message: str, expected: str) -> None:
    (problem,) = condition_problems(ensemble(**{key: value}), "e")
    assert problem.path == f"parameters['{key}']"
    assert problem.message.startswith(message)
    assert problem.expected.startswith(expected)


@given(
    st.integers(1, 7).flatmap(
        lambda count: st.tuples(
            st.just(count), st.sets(st.tuples(*[st.integers(0, count - 1)] * 2)), st.sets(st.integers(0, count - 1))
        )
    )
)
def test_a_step_waits_for_itself_where_there_is_a_way_back(drawn: tuple[int, set[tuple[int, int]], set[int]]) -> None:
    """Each pair is a step that takes what the other makes; the conditions look at what the next step makes."""
    count, edges, conditions = drawn
    takes = {number: {one for user, one in edges if user == number} for number in range(count)}
    config = ModelConfig(
        ensemble_scheduling=ModelEnsembling(
            step=tuple(
                ModelEnsembling.Step(
                    model_name="m",
                    input_map={"I": "in", **{f"I{one}": f"t{one}" for one in takes[number]}},
                    output_map={"O": f"t{number}"},
                )
                for number in range(count)
            )
        ),
        parameters={
            f"step[{number}].if": ModelParameter(string_value=f"t{(number + 1) % count}") for number in conditions
        },
    )
    needs = {number: takes[number] | ({(number + 1) % count} if number in conditions else set()) for number in takes}
    wrong = set()
    for number in conditions:
        reached, left = set(), [(number + 1) % count]
        while left:
            one = left.pop()
            if one not in reached:
                reached.add(one)
                left += needs[one]
        if number in reached:
            wrong.add(f"parameters['step[{number}].if']")
    assert {one.path for one in condition_problems(config, "e")} == wrong


def test_a_condition_of_any_length_is_not_repeated_whole() -> None:
    (problem,) = condition_problems(ensemble(**{"step[1].if": "x" * (1 << 20)}), "e")
    assert "longer than 4096" in problem.message
    assert len(str(problem)) < 500


def test_wrong_names_are_not_searched_among_any_number_of_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    monkeypatch.setattr(validation, "suggestion", lambda name, known: searched.append(len(list(known))))
    maps = {f"O{number}": f"tensor_{number}" for number in range(1000)}
    steps = (ModelEnsembling.Step(model_name="m", input_map={"I": "in"}, output_map=maps),)
    condition = ModelParameter(string_value=" or ".join(f"tensr_{number}" for number in range(300)))
    config = ModelConfig(ensemble_scheduling=ModelEnsembling(step=steps), parameters={"step[0].if": condition})
    assert len(list(condition_problems(config, "e"))) == 300
    assert searched == [0] * 300


def test_steps_that_wait_for_each_other_by_their_conditions_are_refused() -> None:
    config = ensemble(**{"step[0].if": "u > 1", "step[1].else": "u = A"})
    assert [one.path for one in condition_problems(config, "e")] == ["parameters['step[0].if']"]


@pytest.mark.parametrize(
    ("key", "value", "found", "expected"),
    [
        ("step[1].else", "u = A", "TYPE_INT32", "TYPE_STRING"),
        ("step[1].if", "not (A == 'x')", "'A' is TYPE_INT32", "a number"),
        ("step[2].if", "given(u) and all(u) == 1", "'u' is TYPE_STRING", "a text in quotes"),
        ("step[1].if", "t > 1", "'t' is TYPE_BF16", "a tensor of another type"),
    ],
)
def test_types_that_do_not_agree_are_said_by_the_key(key: str, value: str, found: str, expected: str) -> None:
    models = [
        ModelConfig(output=(ModelOutput(name="OUT", data_type=kind, dims=(1,)),))
        for kind in (DataType.BF16, DataType.BYTES, DataType.INT32)
    ]
    config = ensemble(**{key: value})
    (problem,) = condition_type_problems(config, models)
    assert (problem.path, problem.found) == (f"parameters['{key}']", found)
    assert problem.expected.startswith(expected)
    assert list(condition_type_problems(config, [None, None, None])) == ([] if "A ==" not in value else [problem])
    assert list(condition_type_problems(ensemble(**{key: "wrong >"}), models)) == []


def test_types_that_agree_are_no_problem() -> None:
    model = ModelConfig(output=(ModelOutput(name="OUT", data_type=DataType.INT32, dims=(1,)),))
    config = ensemble(**{"step[1].if": "t > 1 and shape(t)[0] == 1 and parameter(x) == 'y'", "step[1].else": "u = A"})
    assert list(condition_type_problems(config, [model] * 3)) == []
