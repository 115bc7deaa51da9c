"""What is wrong with ragged inputs, tensors made for a batch, and padding: each mistake with its key."""

import json
from typing import Any

import pytest

from atoll.config.model_config import ModelConfig
from atoll.config.padding import MADE_TYPES, MAX_BUCKETS, NO_PADDING, padding_value, parse_padding, read_padding
from atoll.config.problems import Problem, errors_of
from atoll.config.textproto import read_config_text
from atoll.config.validate import validate_config
from atoll.tensor import DataType

IO = """
backend: "python" max_batch_size: 8
input [{ name: "IN" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true }, { name: "K" data_type: TYPE_FP32 dims: [ 2 ] }]
output [{ name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "DEEP" data_type: TYPE_FP32 dims: [ 3, -1 ] }]
"""  # noqa: E501
MADE = 'target_name: "N" data_type: TYPE_INT32'


def problems(text: str) -> list[Problem]:
    return validate_config(read_config_text(text, "m/config.pbtxt"), "m")


def made(text: str) -> str:
    return IO + f"batch_input [{{ {text} }}]"


def cut(text: str) -> str:
    return IO + f"batch_output [{{ {text} }}]"


@pytest.mark.parametrize(
    "text",
    [
        IO,
        made(f'{MADE} source_input: "IN"'),
        made('target_name: ["N", "O"] data_type: TYPE_FP32 kind: BATCH_ITEM_SHAPE source_input: "K"'),
        cut('target_name: "OUT" source_input: "IN"'),
    ],
)
def test_nothing_to_say(text: str) -> None:
    assert problems(text) == []


# The real server 2.51 was seen to answer with this for such a configuration of a model 'm'.
SEEN = [
    (
        made('target_name: "N" data_type: TYPE_INT64 source_input: "IN"'),
        "batch_input[0].data_type",
        "batch input data type must be TYPE_INT32 or TYPE_FP32 for m",
    ),
    (
        made('target_name: "N" source_input: "IN"'),
        "batch_input[0].data_type",
        "unexpected batch input data type 'TYPE_INVALID'",
    ),
    (
        made(f"{MADE} kind: BATCH_ITEM_SHAPE"),
        "batch_input[0].source_input",
        "batch input kind 'BATCH_ITEM_SHAPE' expects 1 source input, got 0 for m",
    ),
    (
        made(f'{MADE} source_input: ["IN", "IN"]'),
        "batch_input[0].source_input",
        "batch input kind 'BATCH_ELEMENT_COUNT' expects 1 source input, got 2 for m",
    ),
    (made(f'{MADE} source_input: "INX"'), "batch_input[0].source_input", "unknown source input name 'INX' for m"),
    (
        cut('target_name: "OUT" source_input: ["IN", "IN"]'),
        "batch_output[0].source_input",
        "batch output kind 'BATCH_SCATTER_WITH_INPUT_SHAPE' expects 1 source input, got 2 for m",
    ),
    (
        cut('target_name: ["OUT", "OUT"] source_input: "IN"'),
        "batch_output[0].target_name",
        "target output name 'OUT' can only be specified once for m",
    ),
    (
        cut('target_name: "OUT" source_input: "INX"'),
        "batch_output[0].source_input",
        "unknown source input name 'INX' for m",
    ),
    (
        cut('target_name: "OUTX" source_input: "IN"'),
        "batch_output[0].target_name",
        "unknown target output name 'OUTX' for m",
    ),
]
OURS = [
    (
        made('target_name: "K" data_type: TYPE_INT32 source_input: "IN"'),
        "batch_input[0].target_name",
        "batch input target 'K' is also an input that clients send for m",
    ),
    (
        made(f'{MADE} target_name: "N" source_input: "IN"'),
        "batch_input[0].target_name",
        "batch input target 'N' is specified more than once for m",
    ),
    (
        made('target_name: "" data_type: TYPE_INT32 source_input: "IN"'),
        "batch_input[0].target_name",
        "batch input target must specify its name for m",
    ),
    (
        cut('source_input: "IN"'),  # the real server ends at this
        "batch_output[0].target_name",
        "batch output kind 'BATCH_SCATTER_WITH_INPUT_SHAPE' has no target for m",
    ),
    (
        cut('target_name: "DEEP" source_input: "IN"'),
        "batch_output[0].target_name",
        "target output 'DEEP' has a variable dimension at place 1, where source input 'IN' has no dimension for m",
    ),
]


@pytest.mark.parametrize(("text", "path", "message"), [*SEEN, *OURS])
def test_a_mistake(text: str, path: str, message: str) -> None:
    (problem,) = problems(text)
    assert (problem.path, problem.message, problem.warning) == (path, message, False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (IO.replace("max_batch_size: 8", ""), "input[0].allow_ragged_batch"),
        (made('data_type: TYPE_INT32 source_input: "IN"'), "batch_input[0].target_name"),
    ],
)
def test_what_has_no_effect_is_said_and_served(text: str, path: str) -> None:
    (problem,) = problems(text)
    assert (problem.path, problem.warning) == (path, True)


def padded(document: Any, change: tuple[str, str] = ("", "")) -> list[Problem]:
    text = IO.replace("allow_ragged_batch: true", "").replace(*change)
    said = document if isinstance(document, str) else json.dumps(document)
    return problems(text + f"parameters {{ key: 'padding' value {{ string_value: {json.dumps(said)} }} }}")


GOOD: list[Any] = [
    {"inputs": {"IN": {}}},
    {"inputs": {"IN": {"value": 1.5, "buckets": [1, 2], "mask": "M", "length": {"name": "L"}}}},
    {"inputs": {"IN": {"buckets": [[4]]}}, "separate_buckets": True},
    {"buckets": [8, 16], "inputs": {"IN": {}}, "outputs": {"OUT": "IN", "DEEP": ["IN"]}},
    '{"inputs": {"IN": {"value": -Infinity}}}',
]


@pytest.mark.parametrize("document", GOOD)
def test_nothing_to_say_of_padding(document: Any) -> None:
    assert padded(document) == []


@pytest.mark.parametrize(
    ("document", "message", "remedy"),
    [
        ("{", "padding: is not JSON", ""),
        ("[]", "padding: must be an object", ""),
        ("{}", "padding: names no input to pad", ""),
        ("[" * 100_000, "padding: is not JSON", ""),
        ({"input": {"IN": {}}}, "padding: unknown key 'input'", "Did you mean 'inputs'?"),
        ({"inputs": []}, "padding.inputs: must be an object", ""),
        ({"inputs": {"in": {}}}, "padding.inputs.in: the configuration has no such input", "Did you mean 'IN'?"),
        ({"inputs": {"IN": {"vale": 1}}}, "padding.inputs.IN: unknown key 'vale'", "Did you mean 'value'?"),
        ({"inputs": {"IN": {"value": [1]}}}, "padding.inputs.IN.value: must be a single value", ""),
        ({"inputs": {"IN": {"value": "x"}}}, "padding.inputs.IN.value: the value is none that the input can have", ""),
        ({"inputs": {"IN": {"value": 1e39}}}, "padding.inputs.IN.value: the value is none", ""),
        ({"inputs": {"IN": {"value": 10**400}}}, "padding.inputs.IN.value: the value is none", ""),
        ({"inputs": {"IN": {"buckets": [4, 4]}}}, "padding.inputs.IN.buckets: is no list of sizes", ""),
        ({"inputs": {"IN": {"buckets": [8, 4]}}}, "padding.inputs.IN.buckets: is no list of sizes", ""),
        ({"inputs": {"IN": {"buckets": []}}}, "padding.inputs.IN.buckets: is no list of sizes", ""),
        ({"inputs": {"IN": {"buckets": [0, True]}}}, "padding.inputs.IN.buckets: is no list of sizes", ""),
        ({"buckets": [4, 2.5], "inputs": {"IN": {}}}, "padding.buckets: is no list of sizes", ""),
        ({"inputs": {"IN": {"buckets": list(range(1, MAX_BUCKETS + 2))}}}, "padding.inputs.IN.buckets: is no list", ""),
        ({"inputs": {"IN": {"buckets": [[1], [2]]}}}, "padding.inputs.IN.buckets: the buckets are not as many", ""),
        ({"inputs": {"K": {}}}, "padding.inputs.K: there is nothing to pad: all its dims are fixed", ""),
        ({"inputs": {"IN": {"mask": ""}}}, "padding.inputs.IN.mask: must name an input of the model", ""),
        ({"inputs": {"IN": {"mask": 1}}}, "padding.inputs.IN.mask: must be an object", ""),
        (
            {"inputs": {"IN": {"mask": {"name": "M", "data_type": "TYPE_STRING"}}}},
            "padding.inputs.IN.mask.data_type: is no type that it can have",
            "",
        ),
        ({"inputs": {"IN": {"mask": "K"}}}, "padding.inputs.IN.mask: 'K' is an input that clients send", "Remove the"),
        ({"inputs": {"IN": {"mask": "M", "length": "M"}}}, "padding.inputs.IN.mask: 'M' is named 2 times", ""),
        ({"inputs": {"IN": {}}, "separate_buckets": 1}, "padding.separate_buckets: must be true or false", ""),
        (
            {"inputs": {"IN": {}}, "separate_buckets": True},
            "padding.separate_buckets: there are no buckets to keep",
            "",
        ),
        (
            {"inputs": {"IN": {}}, "outputs": {"OT": "IN"}},
            "padding.outputs.OT: the configuration has no",
            "Did you mean",
        ),
        ({"inputs": {"IN": {}}, "outputs": {"OUT": 1}}, "padding.outputs.OUT: must say which input's sizes it has", ""),
        ({"inputs": {"IN": {}}, "outputs": {"OUT": "K"}}, "padding.outputs.OUT: 'K' is no padded input", "Add it"),
        ({"inputs": {"IN": {}}, "outputs": {"OUT": ["IN", None]}}, "padding.outputs.OUT: the list is not as long", ""),
    ],
)
def test_a_mistake_in_padding(document: Any, message: str, remedy: str) -> None:
    found = padded(document)
    assert [one.path for one in found] == ["parameters['padding']"] * len(found)
    assert found[0].message.startswith(message)
    assert found[0].remedy.startswith(remedy)
    assert len(str(found[0])) < 1000
    assert errors_of(found) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("dims: [ -1 ]  }, {", "dims: [ -1 ] allow_ragged_batch: true }, {"), "a ragged input is not padded"),
        (("max_batch_size: 8", ""), "without max_batch_size there is no batch"),
        (("dims: [ 3, -1 ]", "dims: [ -1, -1 ]"), "it has 2 variable dimensions, the input 'IN' has 1"),
        (("dims: [ 3, -1 ]", "dims: [ 3, 2 ]"), "there is nothing to cut: all its dims are fixed"),
        (
            ("max_batch_size: 8", 'max_batch_size: 8 batch_output { target_name: "DEEP" source_input: "K" }'),
            "the output is cut by batch_output already",
        ),
        (
            ("max_batch_size: 8", f'max_batch_size: 8 batch_input {{ {MADE} source_input: "K" }}'),
            "'N' is a target of batch_input",
        ),
    ],
)
def test_a_mistake_beside_padding(change: tuple[str, str], message: str) -> None:
    found = padded({"inputs": {"IN": {"mask": "N"}}, "outputs": {"DEEP": "IN"}}, change)
    (problem,) = [one for one in found if message in one.message]
    assert problem.path == "parameters['padding']"


def test_several_mistakes_are_said_at_once() -> None:
    found = padded({"inputs": {"IN": {"value": "x", "buckets": [2, 1]}, "NONE": {}}, "more": 1})
    assert len(found) == 4


def test_a_mask_has_a_number_for_each_element() -> None:
    for one in MADE_TYPES:
        text = json.dumps({"inputs": {"IN": {"mask": {"name": "M", "data_type": one.config_name}}}})
        padding, wrong = parse_padding(text)
        assert wrong == []
        ((kind, mask, _),) = padding.made_inputs()
        assert (kind, mask.data_type) == ("mask", one)


def test_without_the_parameter_nothing_is_padded() -> None:
    assert read_padding(ModelConfig(name="m")) is NO_PADDING


@pytest.mark.parametrize(
    ("value", "datatype"),
    [
        (True, DataType.INT32),
        (1, DataType.BOOL),
        (1.5, DataType.INT64),
        (256, DataType.UINT8),
        (-1, DataType.UINT64),
        (70000.0, DataType.FP16),
        (3.4e38, DataType.BF16),
        (1, DataType.BYTES),
        ("1", DataType.FP32),
    ],
)
def test_a_value_of_another_type_is_none(value: Any, datatype: DataType) -> None:
    assert padding_value(value, datatype) is None


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('batch_input [{ target_name: "N" data_type: TYPE_FP32 source_input: "A" }]', "batch_input[0].source_input"),
        ('batch_output [{ target_name: "Y" source_input: "A" }]', "batch_output[0].source_input"),
        ("""parameters { key: "padding" value { string_value: '{"inputs": {"A": {}}}' } }""", "parameters['padding']"),
    ],
)
def test_a_model_without_inputs_has_none_to_name(text: str, path: str) -> None:
    config = read_config_text(f'backend: "python" max_batch_size: 8 {text}', "m/config.pbtxt")
    assert path in [one.path for one in validate_config(config, "m")]
    assert path not in [one.path for one in validate_config(config, "m", complete=False)]  # they may yet be found
