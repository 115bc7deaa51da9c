"""What is wrong with an ensemble, and between it and its steps' models: all of it at once, each with its key.

The words are compared with the real server's in tests/conformance/ensembles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.config.model_config import (
    ModelConfig,
    ModelEnsembling,
    ModelInput,
    ModelOutput,
    ModelTransactionPolicy,
    ModelWarmup,
)
from atoll.config.validation.ensemble import ensemble_problems
from atoll.config.validation.steps import composed, step_problems
from atoll.tensor import DataType

Step = ModelEnsembling.Step
FP32, INT32 = DataType.FP32, DataType.INT32


def model(
    name: str = "m",
    inputs: Mapping[str, tuple[DataType, Sequence[int]]] | None = None,
    outputs: Mapping[str, tuple[DataType, Sequence[int]]] | None = None,
    size: int = 4,
) -> ModelConfig:
    return ModelConfig(
        name=name,
        max_batch_size=size,
        input=tuple(
            ModelInput(name=key, data_type=kind, dims=tuple(dims))
            for key, (kind, dims) in (inputs or {"IN": (FP32, [2])}).items()
        ),
        output=tuple(
            ModelOutput(name=key, data_type=kind, dims=tuple(dims))
            for key, (kind, dims) in (outputs or {"OUT": (FP32, [2])}).items()
        ),
    )


def ensemble(*steps: Step, **changes: object) -> ModelConfig:
    config = replace(model("e"), platform="ensemble", ensemble_scheduling=ModelEnsembling(step=steps))
    return replace(config, **changes)  # type: ignore[arg-type]


def step(inputs: Mapping[str, str], outputs: Mapping[str, str], name: str = "m") -> Step:
    return Step(model_name=name, model_version=-1, input_map=dict(inputs), output_map=dict(outputs))


PLAIN = step({"IN": "IN"}, {"OUT": "OUT"})


def paths(problems: object) -> list[str]:
    return [one.path for one in problems]  # type: ignore[attr-defined]


def test_what_is_in_order_has_no_problems() -> None:
    config = ensemble(step({"IN": "IN"}, {"OUT": "x"}), step({"IN": "x"}, {"OUT": "OUT"}))
    assert not list(ensemble_problems(config, "e"))
    assert not step_problems(config, [model(), model()])


def test_everything_wrong_with_the_graph_is_said_at_once() -> None:
    config = ensemble(
        step({"IN": "in"}, {"OUT": "x"}),  # there is IN
        step({"IN": "loop"}, {"OUT": "loop"}),
        step({"IN": "x"}, {"OUT": "x"}),
        step({"IN": "x"}, {"OUT": "left"}),
        model_warmup=(ModelWarmup(name="w"),),
    )
    found = list(ensemble_problems(config, "e"))
    assert paths(found) == [
        "model_warmup",
        "ensemble_scheduling.step[2].output_map",  # x twice
        "input[0]",
        "output[0]",
        "ensemble_scheduling.step[0].input_map",
        "ensemble_scheduling.step[3].output_map",
        "ensemble_scheduling.step[1].input_map",  # a circle
    ]
    assert found[4].remedy == "Did you mean 'IN'?"
    assert found[6].found == "a circle: step 1 (m) waits for 'loop'"


def test_an_input_that_a_step_writes_is_refused() -> None:
    """The real server loads it, and then never answers."""
    config = ensemble(step({"IN": "IN"}, {"OUT": "IN"}), PLAIN)
    (problem,) = ensemble_problems(config, "e")
    assert problem.path == "ensemble_scheduling.step[0].output_map"
    assert "is an input and is written by a step as well" in problem.message


def test_a_circle_names_its_steps() -> None:
    config = ensemble(
        step({"IN": "c"}, {"OUT": "a"}, "first"),
        step({"IN": "a"}, {"OUT": "b"}, "second"),
        step({"IN": "b", "IN2": "IN"}, {"OUT": "c", "OUT2": "OUT"}, "third"),
    )
    (problem,) = ensemble_problems(config, "e")
    for part in ("step 0 (first) waits for 'c'", "step 2 (third) waits for 'b'", "step 1 (second) waits for 'a'"):
        assert part in problem.found
    assert problem.message.startswith("output 'OUT' for ensemble 'e' is not written: at least one of its depending")


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_a_circle_is_found_where_there_is_one(edges: list[tuple[int, int]]) -> None:
    """Of seven steps, each makes one tensor and takes some."""
    steps = [
        step(
            {"IN": "IN", **{f"I{source}": f"t{source}" for source, to in edges if to == number}}, {"OUT": f"t{number}"}
        )
        for number in range(7)
    ]
    left = {number: {source for source, to in edges if to == number} for number in range(7)}
    while ready := [number for number, sources in left.items() if not sources & left.keys()]:
        for number in ready:
            del left[number]
    found = [one for one in ensemble_problems(ensemble(*steps), "e") if one.found.startswith("a circle")]
    assert bool(found) == bool(left)


def test_of_steps_that_all_wait_for_each_other_not_every_way_is_told() -> None:
    count = 120
    tensors = {f"I{number}": f"t{number}" for number in range(count)}
    config = ensemble(*[step(tensors, {"OUT": f"t{number}"}) for number in range(count)])
    circles = [one for one in ensemble_problems(config, "e") if one.found.startswith("a circle")]
    assert len(circles) == 20
    assert max(len(one.found) for one in circles) < 1000
    long = ensemble(*[step({"I": f"t{number - 1 or count}"}, {"OUT": f"t{number}"}) for number in range(1, count + 1)])
    [circle] = [one.found for one in ensemble_problems(long, "e") if one.found.startswith("a circle")]
    assert ", ... 100 more steps, step " in circle
    assert circle.count("waits for") == 20


def test_everything_wrong_with_the_steps_models_is_said_at_once() -> None:
    other = model(inputs={"IN": (INT32, [3, 2]), "MORE": (FP32, [1])}, size=2)
    config = ensemble(step({"IN": "IN", "IM": "IN"}, {"OUT": "OUT", "OUTS": "x"}))
    assert paths(step_problems(config, [other])) == [
        "max_batch_size",
        "ensemble_scheduling.step[0].input_map",  # IM
        "ensemble_scheduling.step[0].output_map",  # OUTS
        "ensemble_scheduling.step[0].input_map",  # MORE
        "input[0].data_type",
        "input[0].dims",
    ]


def test_of_a_model_that_is_not_known_nothing_is_said() -> None:
    assert not step_problems(ensemble(PLAIN), [None])
    config = ensemble(step({"IN": "IN"}, {"OUT": "x"}), step({"IN": "x"}, {"OUT": "OUT"}))
    assert paths(step_problems(config, [None, model(outputs={"OUT": (INT32, [2])})])) == ["output[0].data_type"]


@pytest.mark.parametrize(
    ("dims", "size", "fits"),
    [
        ([2], 8, True),
        ([-1], 8, True),
        ([2], 0, True),  # goes to it without the batch dimension
        ([-1, 2], 0, True),  # or with it
        ([3], 8, False),
        ([2, 2], 8, False),
        ([], 8, False),
    ],
)
def test_shapes_fit_with_or_without_the_batch_dimension(dims: list[int], size: int, fits: bool) -> None:
    taker = model(inputs={"IN": (FP32, dims)}, outputs={"OUT": (FP32, [2] if size else [-1, 2])}, size=size)
    assert (not step_problems(ensemble(PLAIN), [taker])) == fits


def test_an_ensemble_is_decoupled_as_its_steps_are() -> None:
    streaming = replace(model(), model_transaction_policy=ModelTransactionPolicy(decoupled=True))
    says = ensemble(PLAIN, model_transaction_policy=ModelTransactionPolicy(decoupled=True))
    assert composed(ensemble(PLAIN), [streaming], ["here"]).decoupled
    assert not composed(says, [model()], [""]).decoupled
    assert composed(ensemble(PLAIN), [None], ["here"]).ensemble_scheduling == ModelEnsembling(
        step=(replace(PLAIN, model_namespace="here"),)
    )
