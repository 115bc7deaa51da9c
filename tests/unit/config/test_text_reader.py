"""The reader of protobuf's text format agrees with protobuf's own, and says more where a text is wrong."""

from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.config.configurations import configurations, slowly

from atoll.config.model_config import ModelConfig
from atoll.config.schema import POOL
from atoll.config.text_reader import read_text
from atoll.config.textproto import ModelConfigMessage, from_message, write_config_text
from atoll.errors import ConfigError


def theirs(text: str) -> ModelConfig | None:
    message = ModelConfigMessage()
    try:
        text_format.Parse(text, message, descriptor_pool=POOL)
        return from_message(message)
    except (text_format.ParseError, ConfigError, UnicodeDecodeError):
        return None


def ours(text: str) -> ModelConfig | None:
    reading = read_text(text, ModelConfig, "f")
    found: ModelConfig | None = None if reading.problems else reading.record
    return found


@slowly
@given(configurations(), st.booleans(), st.booleans())
def test_it_reads_what_protobuf_writes(config: ModelConfig, one_line: bool, pointy: bool) -> None:
    message = ModelConfigMessage()
    text_format.Parse(write_config_text(config), message, descriptor_pool=POOL)
    text = text_format.MessageToString(message, as_one_line=one_line, pointy_brackets=pointy, as_utf8=pointy)
    assert ours(text) == config


TOKENS = [
    "name",
    "max_batch_size",
    "input",
    "dims",
    "data_type",
    "parameters",
    "key",
    "value",
    "string_value",
    "dynamic_batching",
    "sequence_batching",
    "minimum_slot_utilization",
    "direct",
    "decoupled",
    "model_transaction_policy",
    "nope",
    ":",
    ":",
    ":",
    "{",
    "{",
    "}",
    "}",
    "[",
    "]",
    "<",
    ">",
    ",",
    ";",
    '"x"',
    "'y\\n'",
    '"\\303\\244"',
    '"\\u00e4"',
    "-1",
    "- 1",
    "7",
    "017",
    "0x1F",
    "08",
    "1.5",
    "1e3",
    ".5f",
    "inf",
    "-nan",
    "true",
    "t",
    "TYPE_FP32",
    "11",
    "\n",
    "# c\n",
]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=14).map(" ".join))
@example('input [ { name: "x" } , ]')
@example("input < name: 'x' 'y' ; dims : [ 1 , 2 ] , dims : 3 >")
@example("input: [ { } ] parameters [ { key: 'a' } , { value { } } ]")
@example("parameters { key: 'a' value { string_value: 'b' } key: 'c' }")
@example("max_batch_size: -0x10")
@example("model_transaction_policy: { decoupled: 1 }")
@example("sequence_batching { direct { minimum_slot_utilization: 3 } }")
@example("sequence_batching { direct { minimum_slot_utilization: 0x3 } }")
@example("sequence_batching { direct { minimum_slot_utilization: 012 } }")
@example("input {} ;")
@example("input {} , ,")
@example('name: "a""b" \'c\'')
@example("version_policy { all {} latest {} }")
@example("dims : [ ]")
@example("input { dims : [ ] }")
def test_it_takes_what_protobuf_takes(text: str) -> None:
    wanted = theirs(text)
    if wanted is not None:
        found = ours(text)
        assert found == wanted or str(found) == str(wanted)  # NaN is not itself
    elif ours(text) is not None:
        # the C++ parser, which the real server uses, takes white space behind a minus; the Python one does not
        assert "- 1" in text, text


@settings(max_examples=300, deadline=None)
@given(configurations(), st.data())
def test_a_text_that_ends_too_early_is_a_problem_or_a_shorter_configuration(config: ModelConfig, data: Any) -> None:
    text = write_config_text(config)
    cut = text[: data.draw(st.integers(0, len(text)))]
    reading = read_text(cut, ModelConfig, "f")
    assert (reading.record is None) <= bool(reading.problems)
    if theirs(cut) is not None:
        assert ours(cut) == theirs(cut)
    for problem in reading.problems:
        assert problem.line <= cut.count("\n") + 1
        assert problem.column >= 1


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_or_has_problems(text: str) -> None:
    reading = read_text(text, ModelConfig, "f", {})
    for problem in reading.problems:
        str(problem).encode()  # can be logged
        assert problem.line


# Each of these was seen in the log of the real server 2.51 for this text
CASES = [
    ("model_transaction_policy { decoupled: yes }", 1, 39, 'Invalid value for boolean field "decoupled". Value: "yes"'),
    ("max_batch_size: 1 @", 1, 19, "Expected identifier, got: @"),
    ("}", 1, 1, "Expected identifier, got: }"),
    ("input [ { data_type TYPE_FP32 } ]", 1, 21, 'Expected ":", found "TYPE_FP32"'),
    ("dynamic_batching {}\ndynamic_batching {}", 2, 1, 'Non-repeated field "dynamic_batching" is specified multiple'),
    ("input [ { data_type: TYPE_FLOAT } ]", 1, 22, 'Unknown enumeration value of "TYPE_FLOAT" for field "data_type"'),
    ("sequence_batching { direct { minimum_slot_utilization: abc } }", 1, 56, "Expected double, got: abc"),
    ("max_batch_size: 1.5", 1, 17, "Expected integer, got: 1.5"),
    ("max_batch_size: 3000000000", 1, 17, "Integer out of range (3000000000)"),
    ('{"backend":"python"}', 1, 1, "Expected identifier, got: {"),
    ("input [ { } { } ]", 1, 13, 'Expected ",", found "{"'),
    ('parameters { key: "a" value: "b" }', 1, 30, 'Expected "{", found ""b""'),
    (
        'parameters { a: "b" }',
        1,
        14,
        'Message type "inference.ModelConfig.ParametersEntry" has no field named "a"',
    ),
    ("dynamic_batching: 3", 1, 19, 'Expected "{", found "3"'),
    ("dynamic_batching { max_queue_delay_microseconds: -1 }", 1, 50, "Expected integer, got: -"),
    ("max_batch_size 3", 1, 16, 'Expected ":", found "3"'),
    (
        "dynamic_batching {} sequence_batching {}",
        1,
        21,
        'Field "sequence_batching" is specified along with field "dynamic_batching", another member of oneof '
        '"scheduling_choice"',
    ),
    ("input [ { ", 1, 11, "Expected identifier, got: "),
    ("default_model_filename: foo", 1, 25, "Expected string, got: foo"),
    ('default_model_filename: "foo', 1, 25, "String literals cannot cross line boundaries"),
    ("input [ { dims: [1,] } ]", 1, 20, "Expected integer, got: ]"),
    ("max_batchsize: 1", 1, 1, 'Message type "inference.ModelConfig" has no field named "max_batchsize"'),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), CASES)
def test_what_is_wrong_in_protobufs_words(text: str, line: int, column: int, message: str) -> None:
    problem = read_text(text, ModelConfig, "f").problems[0]
    assert (problem.line, problem.column) == (line, column)
    assert message in problem.message


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('max_batch_size: "8"', "Remove the quotes."),
        ("backend: python", 'Write "python".'),
        ('input { data_type: "TYPE_FP32" }', "Write TYPE_FP32, without quotes."),
        ("input { data_type: TYPE_INT }", "Did you mean 'TYPE_INT32'?"),
        ("input [ {} {} ]", "Put a comma between the elements of a list."),
        ('{"backend": "x"}', "A configuration in JSON is named config.json."),
        ("dynamic_batching: true", "dynamic_batching holds fields: write them in { }."),
        ('parameters { my_key: "x" }', "Write { key: ... value: ... }."),
        ('name: "\\q"', "Write \\\\ for a \\."),
        ('parameters { key: "k" value: "4" }', 'Write { string_value: "4" }.'),
        ("response_cache: true", "Write { enable: true }."),
        ('input [ { name: "I" }\noutput [ { } ]', "Close the list input with ]."),
        ("input [ { dims: [ 4 } ]", "Close the list dims with ]."),
        ('input [ { name: "I" }', "Close the list input with ]."),
        ("instance_group [ { count: 1 ]", "Close instance_group[0] with } before it."),
        ("input [ { } ] ]", "Remove it: each [ before it has its ] already."),
        ("input { } }", "Remove it: each { before it has its } already."),
        ("// a comment", "A comment begins with #."),
        ('version_policy { "all": { } }', "Write the name without quotes."),
    ],
)
def test_what_to_do(text: str, remedy: str) -> None:
    assert remedy in str(read_text(text, ModelConfig, "f").problems[0])


def test_a_list_that_is_not_closed_is_one_mistake() -> None:
    problems = read_text('input [ { name: "I" }\noutput [ { name: "O" } ]', ModelConfig, "f").problems
    assert [(one.line, one.column, one.path) for one in problems] == [(2, 1, "input")]


def test_one_mistake_does_not_hide_the_next() -> None:
    text = """max_batch_size: "8"
inptu [ { nam: "I" dims: [ "1", 2 ] } ]
backend: python
nonsense { a { b: [ 1, { c: 2 } ] } }
model_transaction_policy { decoupled: maybe }
instance_group [ { kind: CPU count: 1.5 } ]
version_policy { latest { num_version: 1 } }
"""
    problems = read_text(text, ModelConfig, "f").problems
    assert [(one.line, one.path) for one in problems] == [
        (1, "max_batch_size"),
        (2, "inptu"),
        (2, "input[0].nam"),
        (2, "input[0].dims[0]"),
        (3, "backend"),
        (4, "nonsense"),
        (5, "model_transaction_policy.decoupled"),
        (6, "instance_group[0].kind"),
        (6, "instance_group[0].count"),
        (7, "version_policy.latest.num_version"),
    ]


def test_a_wrong_name_beside_the_right_one_is_one_mistake() -> None:
    problems = read_text("max_batchsize: 1 max_batch_size: 2 dynamic_batchin {} sequence_batching {}", ModelConfig, "f")
    assert [one.path for one in problems.problems] == ["max_batchsize", "dynamic_batchin"]


def test_a_text_of_too_many_fields_is_given_up() -> None:
    (problem,) = read_text("input { dims: [" + "1," * 200_000 + "1] } ", ModelConfig, "f").problems
    assert str(problem).startswith("f:1:")
    assert "the configuration is too big" in str(problem)


def test_a_text_of_mistakes_is_given_up() -> None:
    assert len(read_text("nope: 1\n" * 10_000, ModelConfig, "f").problems) == 20


@pytest.mark.parametrize(
    "text",
    [
        "input { " * 100_000,
        "[" * 100_000,
        "nope " + "{ a " * 100_000,
        'name: "' + "\\" * 100_001,
        "max_batch_size: " + "9" * 100_000,
        "sequence_batching { direct { minimum_slot_utilization: " + "9" * 100_000 + " } }",
        "max_batch_size: \0",
        '"' * 99_999,
    ],
    ids=lambda text: text[:20],
)
def test_hostile_texts_have_problems(text: str) -> None:
    problems = read_text(text, ModelConfig, "f").problems
    assert problems
    assert all(len(str(one)) < 1000 for one in problems)
    assert all(str(one).isprintable() for one in problems)


def test_a_long_list_takes_no_time_to_speak_of() -> None:
    text = "input { dims: [" + "1," * 50_000 + "1] } " + "output { dims: 1 } " * 1000
    reading = read_text(text, ModelConfig, "f")
    assert reading.problems == []
    assert len(reading.record.input[0].dims) == 50_001
    assert reading.places["input[0].dims[50000]"].line == 1
