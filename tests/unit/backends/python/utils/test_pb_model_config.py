"""ModelConfig: what auto_complete_config may change."""

import json
from typing import Any

import pytest

from atoll.backends.python.utils import ModelConfig


def config(**written: Any) -> ModelConfig:
    return ModelConfig(json.dumps({"name": "m", "max_batch_size": 0, "input": [], "output": []} | written))


FP32 = {"name": "X", "data_type": "TYPE_FP32", "dims": [4]}


def test_an_empty_configuration_takes_everything() -> None:
    made = config()
    made.set_max_batch_size(8)
    made.set_dynamic_batching()
    made.add_input({**FP32, "optional": True})
    made.add_output(FP32)
    made.set_model_transaction_policy({"decoupled": True})
    assert made.as_dict() == {
        "name": "m",
        "max_batch_size": 8,
        "input": [{**FP32, "optional": True}],
        "output": [FP32],
        "dynamic_batching": {},
        "model_transaction_policy": {"decoupled": True},
    }


def test_what_is_written_and_agrees_stays() -> None:
    made = config(input=[{**FP32, "format": "FORMAT_NONE"}], dynamic_batching={"max_queue_delay_microseconds": 5})
    made.add_input(FP32)
    made.set_dynamic_batching()
    assert made.as_dict()["input"] == [{**FP32, "format": "FORMAT_NONE"}]
    assert made.as_dict()["dynamic_batching"] == {"max_queue_delay_microseconds": 5}


def test_what_is_written_half_is_filled_in() -> None:
    made = config(output=[{"name": "X", "data_type": "TYPE_INVALID", "dims": []}])
    made.add_output(FP32)
    assert made.as_dict()["output"] == [FP32]


WRITTEN: dict[str, Any] = {
    "max_batch_size": 4,
    "input": [{**FP32, "optional": False}],
    "output": [FP32],
    "model_transaction_policy": {"decoupled": False},
    "sequence_batching": {},
}


@pytest.mark.parametrize(
    ("method", "argument", "text"),
    [
        (
            "set_max_batch_size",
            2,
            "configuration specified max_batch_size 4, but in auto-complete-config function for model 'm' specified "
            "max_batch_size 2",
        ),
        (
            "set_dynamic_batching",
            None,
            "Configuration specified scheduling_choice as 'sequence_batching', but auto-complete-config function for "
            "model 'm' tries to set scheduling_choice as 'dynamic_batching'",
        ),
        (
            "add_input",
            {**FP32, "format": "x"},
            "input 'X' in auto-complete-config function for model 'm' contains property other than 'name', "
            "'data_type', 'dims' and 'optional'.",
        ),
        (
            "add_output",
            {**FP32, "optional": True},
            "output 'X' in auto-complete-config function for model 'm' contains property other than 'name', "
            "'data_type' and 'dims'.",
        ),
        (
            "add_input",
            {"dims": [1]},
            "input in auto-complete-config function for model 'm' is missing 'name' property.",
        ),
        (
            "add_input",
            {"name": "X", "dims": [1]},
            "input 'X' in auto-complete-config function for model 'm' is missing 'data_type' property.",
        ),
        (
            "add_output",
            {"name": "X", "data_type": "TYPE_FP32"},
            "output 'X' in auto-complete-config function for model 'm' is missing 'dims' property.",
        ),
        (
            "add_input",
            {**FP32, "data_type": "TYPE_FP64"},
            "unable to load model 'm', configuration expects datatype TYPE_FP32 for input 'X', "
            "model provides TYPE_FP64",
        ),
        (
            "add_output",
            {**FP32, "dims": [5]},
            "model 'm', tensor 'X': the model expects dims [5] but the model configuration specifies dims [4]",
        ),
        (
            "add_input",
            {**FP32, "optional": True},
            "model 'm', tensor 'X': the model expects optional True but the model configuration "
            "specifies optional False",
        ),
        (
            "set_model_transaction_policy",
            {"coupled": True},
            "model transaction property in auto-complete-config function for model 'm' contains property other than "
            "'decoupled'.",
        ),
        (
            "set_model_transaction_policy",
            {"decoupled": True},
            "trying to change decoupled property in auto-complete-config for model 'm', which is already "
            "set to 'False'.",
        ),
    ],
)
def test_a_contradiction_is_named_and_changes_nothing(method: str, argument: Any, text: str) -> None:
    made = config(**WRITTEN)
    before = json.dumps(made.as_dict())
    with pytest.raises(ValueError) as raised:
        getattr(made, method)(*([] if argument is None else [argument]))
    assert str(raised.value) == text
    assert json.dumps(made.as_dict()) == before
