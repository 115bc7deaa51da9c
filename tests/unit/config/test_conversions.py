"""Text, message and JSON forms hold everything that the records do."""

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.config.configurations import configurations, slowly
from tritonclient.grpc import model_config_pb2

from atoll.config.document_reader import read_document
from atoll.config.documents import read_json
from atoll.config.json_form import from_json, to_json
from atoll.config.model_config import (
    ModelConfig,
    ModelDynamicBatching,
    ModelInput,
    ModelInstanceGroup,
    ModelSequenceBatching,
    ModelVersionPolicy,
)
from atoll.config.overlay import overlay
from atoll.config.override import read_override
from atoll.config.textproto import from_message, read_config_text, to_message, write_config_text
from atoll.config.yaml_document import read_yaml
from atoll.errors import ConfigError
from atoll.tensor import DataType


@slowly
@given(configurations())
def test_text_round_trip(config: ModelConfig) -> None:
    assert read_config_text(write_config_text(config), "config.pbtxt") == config


@slowly
@given(configurations())
def test_message_round_trip(config: ModelConfig) -> None:
    message = to_message(config)
    again = type(message).FromString(message.SerializeToString())
    assert from_message(again) == config


@slowly
@given(configurations())
def test_json_round_trip(config: ModelConfig) -> None:
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@slowly
@given(configurations(), st.booleans())
def test_json_text_round_trip(config: ModelConfig, indented: bool) -> None:
    text = json.dumps(to_json(config), indent=2 if indented else None, ensure_ascii=indented)
    reading = read_document(read_json(text, "f"), ModelConfig, file="f")
    assert reading.problems == []
    assert reading.record == config
    assert read_override(text) == config


@slowly
@given(configurations(), st.booleans())
def test_yaml_round_trip(config: ModelConfig, flow: bool) -> None:
    text = json.dumps(to_json(config)) if flow else yaml.safe_dump(quoted(to_json(config)), sort_keys=False)
    reading = read_document(read_yaml(text, "f"), ModelConfig, form="YAML", file="f")
    assert reading.problems == []
    assert reading.record == config


class Quoted(str):
    """A text that is written in quotes: YAML writers know other words for booleans than we do."""


yaml.SafeDumper.add_representer(
    Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def quoted(document: Any) -> Any:
    if isinstance(document, dict):
        return {Quoted(key): quoted(value) for key, value in document.items()}
    if isinstance(document, list):
        return [quoted(one) for one in document]
    return Quoted(document) if isinstance(document, str) else document


@slowly
@given(configurations(), configurations())
def test_what_is_laid_over_wins_and_the_rest_shows_through(base: ModelConfig, override: ModelConfig) -> None:
    assert overlay(base, ModelConfig()) == base
    assert overlay(ModelConfig(), override) == override
    assert overlay(base, base) == base
    both = overlay(base, override)
    to_message(both)  # with no two members of a oneof
    assert overlay(both, override) == both
    for name in ("name", "max_batch_size", "input", "instance_group", "model_warmup"):
        assert getattr(both, name) == (getattr(override, name) or getattr(base, name))
    assert both.parameters == {**base.parameters, **override.parameters}


@slowly
@given(configurations())
def test_the_official_client_reads_our_bytes(config: ModelConfig) -> None:
    theirs = model_config_pb2.ModelConfig.FromString(to_message(config).SerializeToString())
    assert from_message(theirs) == config


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    | st.lists(
        st.sampled_from(
            ["name", "input", "inptu", "dims", ":", "{", "}", "[", "]", '"x"', "-1", "1e9", "TYPE_FP32", "\n"]
        )
    ).map(" ".join)
)
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    found = None
    try:
        read_config_text(text, "config.pbtxt")
    except ConfigError as error:
        found = str(error)
    assert found is None or "config.pbtxt:" in found


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "input", "dims", "parameters", "maxBatchSize", "oops"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(anything)
def test_any_json_is_a_configuration_or_a_config_error(document: Any) -> None:
    found = None
    try:
        from_json(document)
    except ConfigError as error:
        found = str(error)
    assert found is None or found.startswith("Invalid config override")


def test_text_errors_name_the_place_and_the_near_spelling() -> None:
    text = 'name: "m"\nmax_batchsize: 4\ninput [ { nam: "I" data_type: TYPE_FLOAT data_typ: TYPE_FP32 } ]\n'
    with pytest.raises(ConfigError) as caught:
        read_config_text(text, "m/config.pbtxt")
    lines = str(caught.value).splitlines()
    assert lines[0] == "failed to read text proto from m/config.pbtxt"
    assert "m/config.pbtxt:2:1: max_batchsize: unknown field 'max_batchsize' (" in lines[1]
    assert 'Message type "inference.ModelConfig" has no field named "max_batchsize"' in lines[1]
    assert "Did you mean 'max_batch_size'?" in lines[1]
    assert "m/config.pbtxt:3:11: input[0].nam: unknown field 'nam'" in lines[2]
    assert "Did you mean 'name'?" in lines[2]
    assert (
        'm/config.pbtxt:3:31: input[0].data_type: Unknown enumeration value of "TYPE_FLOAT" for field "data_type"'
        in lines[3]
    )
    assert "Did you mean 'TYPE_FP32'?" in lines[3]
    assert "m/config.pbtxt:3:42: input[0].data_typ: unknown field 'data_typ'" in lines[4]
    assert [(one.line, one.column) for one in caught.value.problems] == [(2, 1), (3, 11), (3, 31), (3, 42)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('max_batch_size: "a"', 'f:1:17: max_batch_size: Expected integer, got: "a"'),
        ("max_batch_size: 3000000000", "f:1:17: max_batch_size: Integer out of range (3000000000)"),
        (
            "\nmax_batch_size: 1\nmax_batch_size: 2",
            'f:3:1: max_batch_size: Non-repeated field "max_batch_size" is specified multiple times',
        ),
        ("input [", "f:1:"),
        (
            "dynamic_batching{} sequence_batching{}",
            'Field "sequence_batching" is specified along with field "dynamic_batching"',
        ),
        ("whatever: 1", "Expected a field of ModelConfig: name, platform, backend"),
        ("instance_group [{ kind: 9 }]", "instance_group[0].kind: unknown enumeration value"),
        (b'\nname: "\xff"', "f:2:8: the file is not UTF-8 text. Found byte 0xff"),
        ("# " + "x" * (4 << 20), "f: the file is too big. Found 4194306 characters; expected at most 4194304"),
    ],
)
def test_text_errors(text: str | bytes, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config_text(text, "f")
    assert expected in str(caught.value)


def test_written_text_is_what_people_write() -> None:
    config = ModelConfig(
        name="m",
        backend="onnxruntime",
        max_batch_size=8,
        input=(ModelInput(name="I", data_type=DataType.FP32, dims=(3, -1)),),
        dynamic_batching=ModelDynamicBatching(),
    )
    assert write_config_text(config) == (
        'name: "m"\nbackend: "onnxruntime"\nmax_batch_size: 8\n'
        'input {\n  name: "I"\n  data_type: TYPE_FP32\n  dims: [3, -1]\n}\ndynamic_batching {\n}\n'
    )


def test_json_prints_64_bit_integers_as_the_real_server_does() -> None:
    state = ModelSequenceBatching.State(
        dims=(2,), initial_state=(ModelSequenceBatching.InitialState(dims=(2,), zero_data=True, name="n"),)
    )
    device = ModelInstanceGroup.SecondaryDevice(device_id=1)
    config = ModelConfig(
        input=(ModelInput(dims=(4,)),),
        version_policy=ModelVersionPolicy(specific=ModelVersionPolicy.Specific(versions=(1,))),
        sequence_batching=ModelSequenceBatching(state=(state,)),
        instance_group=(ModelInstanceGroup(secondary_devices=(device,)),),
    )
    document = to_json(config)
    assert document["input"][0]["dims"] == [4]
    assert document["version_policy"] == {"specific": {"versions": [1]}}
    assert list(document["sequence_batching"]["state"][0]["initial_state"][0].items()) == [
        ("data_type", "TYPE_INVALID"),
        ("dims", ["2"]),
        ("name", "n"),
        ("zero_data", True),
    ]
    assert document["instance_group"][0]["secondary_devices"] == [{"kind": "KIND_NVDLA", "device_id": "1"}]
    assert document["sequence_batching"]["max_sequence_idle_microseconds"] == 0


def test_json_floats_are_short() -> None:
    config = read_config_text("sequence_batching { direct { minimum_slot_utilization: 0.3 } }", "f")
    assert config.sequence_batching is not None
    assert to_json(config)["sequence_batching"]["direct"]["minimum_slot_utilization"] == 0.3


def test_json_errors_are_all_reported() -> None:
    document = {
        "max_batchsize": 2,
        "max_batch_size": "a",
        "input": [{"data_type": "TYPE_X", "dims": ["4", 1.5], "nam": "I"}],
        "dynamic_batching": {},
        "sequence_batching": {},
        "parameters": [],
        "backend": ["onnxruntime"],
        "optimization": 3,
    }
    with pytest.raises(ConfigError) as caught:
        from_json(document)
    text = str(caught.value)
    # in the real server's words, each of them seen in its log
    for expected in (
        "max_batchsize: Cannot find field.",
        "Did you mean 'max_batch_size'?",
        '(max_batch_size): invalid value "a" for type TYPE_INT32',
        '(input[0].data_type): invalid value "TYPE_X" for type type.googleapis.com/inference.DataType',
        "(input[0].dims[1]): invalid value 1.5 for type TYPE_INT64",
        "(input[0]) nam: Cannot find field.",
        "Did you mean 'name'?",
        "invalid value oneof field 'scheduling_choice' is already set. Cannot set 'sequence_batching' for type oneof",
        "invalid value Cannot bind a list to map for field 'parameters'. for type Map",
        "backend: Proto field is not repeating, cannot start list.",
        "(optimization): invalid value 3 for type type.googleapis.com/inference.ModelOptimizationPolicy",
    ):
        assert expected in text


def test_json_takes_what_protobuf_takes() -> None:
    document = {"maxBatchSize": 2, "input": [{"name": "I", "dataType": 11, "dims": "-1"}], "parameters": None}
    config = from_json({**document, "model_transaction_policy": {"decoupled": "Yes"}})
    assert config.decoupled
    assert config.max_batch_size == 2
    assert config.input == (ModelInput(name="I", data_type=DataType.FP32, dims=(-1,)),)


def test_a_value_that_the_schema_cannot_hold() -> None:
    with pytest.raises(ConfigError, match="max_batch_size"):
        to_message(ModelConfig(max_batch_size=2**40))
    with pytest.raises(ConfigError, match=r"input\[0\]\.dims"):
        to_message(ModelConfig(input=(ModelInput(dims=("4",)),)))  # type: ignore[arg-type]
    both = replace(ModelConfig(dynamic_batching=ModelDynamicBatching()), sequence_batching=ModelSequenceBatching())
    with pytest.raises(ConfigError, match="at most one of dynamic_batching and sequence_batching"):
        to_message(both)
