"""What is wrong with sequence batching is said with its key; texts that the real server (2.51) has are its own."""

import pytest

from atoll.config.model_config import ModelConfig
from atoll.config.sequence_backlog import DEFAULT, backlog_limit
from atoll.config.textproto import read_config_text
from atoll.config.validation.sequences import sequence_problems

START = "kind: CONTROL_SEQUENCE_START"
CORRID = "kind: CONTROL_SEQUENCE_CORRID"


def config(batching: str, more: str = "") -> ModelConfig:
    return read_config_text(f"max_batch_size: 4 sequence_batching {{ {batching} }} {more}", "config.pbtxt")


def found(one: ModelConfig) -> list[tuple[str, str]]:
    assert one.sequence_batching is not None
    return [(problem.path, problem.message) for problem in sequence_problems(one, one.sequence_batching, "m")]


def control(*controls: str, name: str = "A") -> str:
    inside = ", ".join(f"{{ {one} }}" for one in controls)
    return f'control_input [ {{ name: "{name}" control [ {inside} ] }} ]'


PAIRS = "'int32_false_true', 'fp32_false_true'"
IDS = "Allowed data types are TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING"
RANGE = "sequence batching minimum slot utilization must be in range (0.0, 1.0] for m"


@pytest.mark.parametrize(
    ("batching", "path", "message"),
    [
        ("direct { minimum_slot_utilization: 1.5 }", "direct.minimum_slot_utilization", RANGE),
        ("direct { minimum_slot_utilization: -1 }", "direct.minimum_slot_utilization", RANGE),
        ("direct { minimum_slot_utilization: nan }", "direct.minimum_slot_utilization", RANGE),
        (
            "oldest { preferred_batch_size: [ 9 ] }",
            "oldest.preferred_batch_size[0]",
            "sequence batching preferred batch size must be <= max batch size for m",
        ),
        (
            "oldest { preferred_batch_size: [ 0 ] }",
            "oldest.preferred_batch_size[0]",
            "sequence batching preferred batch size must be positive for m",
        ),
        (
            "oldest { max_candidate_sequences: -2 }",
            "oldest.max_candidate_sequences",
            "sequence batching max candidate sequences must not be negative for m",
        ),
        (
            control(f"{START} fp32_false_true: [ 0, 1 ]", name=""),
            "control_input[0].name",
            "sequence batching control tensor must have a name for m",
        ),
        (
            control(f"{START} fp32_false_true: [ 0, 1 ] int32_false_true: [ 0, 1 ]"),
            "control_input[0].control[0]",
            f"sequence batching specifies more than one from {PAIRS} and 'bool_false_true' for CONTROL_SEQUENCE_START "
            "for m",
        ),
        (
            control(f"{START} fp32_false_true: [ 0 ]"),
            "control_input[0].control[0].fp32_false_true",
            "sequence batching control 'fp32_false_true' must have exactly 2 entries for CONTROL_SEQUENCE_START for m",
        ),
        (
            control(START),
            "control_input[0].control[0]",
            f"sequence batching must specify either {PAIRS} or 'bool_false_true' for CONTROL_SEQUENCE_START for m",
        ),
        (
            control(f"{CORRID} int32_false_true: [ 0, 1 ] data_type: TYPE_UINT64"),
            "control_input[0].control[0]",
            f"sequence batching must not specify either {PAIRS} or 'bool_false_true' for CONTROL_SEQUENCE_CORRID for m",
        ),
        (
            control(f"{CORRID} data_type: TYPE_UINT8"),
            "control_input[0].control[0].data_type",
            f"unexpected data type for control CONTROL_SEQUENCE_CORRID for m. {IDS}",
        ),
    ],
)
def test_one_mistake(batching: str, path: str, message: str) -> None:
    assert found(config(batching)) == [(f"sequence_batching.{path}", message)]


def test_a_kind_may_be_given_once() -> None:
    pair = f"{START} fp32_false_true: [ 0, 1 ]"
    twice = config(control(pair) + " " + control(pair, name="B"))
    message = "sequence batching specifies multiple CONTROL_SEQUENCE_START tensors for m"
    assert ("sequence_batching.control_input[1].control[0].kind", message) in found(twice)


@pytest.mark.parametrize(
    "batching",
    [
        "direct { minimum_slot_utilization: 0.0 }",
        "direct { minimum_slot_utilization: 1.0 max_queue_delay_microseconds: 18446744073709551615 }",
        "oldest { max_candidate_sequences: 2000000000 preferred_batch_size: [ 4 ] }",  # the real server ends at this
        "max_sequence_idle_microseconds: 18446744073709551615",
        "iterative_sequence: true",
    ],
)
def test_what_is_allowed(batching: str) -> None:
    assert found(config(batching)) == []


def backlog(text: str) -> str:
    return f'parameters {{ key: "max_backlog_sequences" value {{ string_value: "{text}" }} }}'


@pytest.mark.parametrize("text", ["-1", "many", "1.5", "9" * 20, "1000000001", "\u0663"])
def test_a_bound_that_is_no_number(text: str) -> None:
    one = config("direct {}", backlog(text))
    wanted = "a whole number from 0 to 1000000000"
    message = f"parameter 'max_backlog_sequences' of model 'm' is '{text}' but must be {wanted}"
    assert found(one) == [("parameters.max_backlog_sequences", message)]


@pytest.mark.parametrize(("text", "limit"), [("0", 0), ("5", 5), ("", DEFAULT)])
def test_the_bound_of_the_backlog(text: str, limit: int) -> None:
    assert backlog_limit(config("direct {}", backlog(text))) == limit
    assert backlog_limit(config("direct {}")) == DEFAULT
    assert found(config("direct {}", backlog(text))) == []
