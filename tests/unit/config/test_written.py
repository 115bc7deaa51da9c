"""What is written in a model's folder: which file counts, its three forms, versions' own, and where each key stands."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelDynamicBatching, ModelInput, ModelVersionPolicy
from atoll.config.problems import Problem
from atoll.config.written import WHOLE_MODEL, read_written
from atoll.errors import ConfigError
from atoll.tensor import DataType

PBTXT = """# a comment
backend: "onnxruntime"
max_batch_size: 8
input [
  { name: "I" data_type: TYPE_FP32 dims: [ 3, -1 ] }
]
dynamic_batching { max_queue_delay_microseconds: 100 }
parameters { key: "a.b" value { string_value: "1" } }
"""
JSON = """{
  "backend": "onnxruntime",
  "max_batch_size": 8,
  "input": [
    { "name": "I", "dataType": "TYPE_FP32", "dims": [ 3, -1 ] }
  ],
  "dynamic_batching": { "max_queue_delay_microseconds": "100" },
  "parameters": { "a.b": { "string_value": "1" } }
}
"""
YAML = """# a comment
backend: onnxruntime
max_batch_size: 8
input:
  - { name: I, data_type: TYPE_FP32, dims: [ 3, -1 ] }

dynamic_batching: { max_queue_delay_microseconds: 100 }
parameters: { a.b: { string_value: "1" } }
"""
FORMS = {"config.pbtxt": PBTXT, "config.json": JSON, "config.yaml": YAML, "config.yml": YAML}


def read(directory: Path, environment: Mapping[str, str] | None = None, **options: Any) -> Any:
    return read_written(directory, environment=environment or {}, **options)


def problems(directory: Path, environment: Mapping[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        read(directory, environment)
    assert all(str(one) in str(caught.value) for one in caught.value.problems)
    return list(caught.value.problems)


def at(path: str) -> Problem:
    return Problem(path, "wrong", "", "", "")


def test_nothing_is_written(tmp_path: Path) -> None:
    written = read(tmp_path)
    assert written.config == ModelConfig()
    assert written.file is None
    assert written.of_version(1) == ModelConfig()
    assert written.locate([at("name")]) == [at("name")]


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("config.pbtext", "config.pbtxt"),
        ("config.pbtxt.txt", "config.pbtxt"),
        ("Config.pbtxt", "config.pbtxt"),
        ("config.jsn", "config.json"),
    ],
)
def test_a_configuration_of_a_wrong_name_is_told_of(name: str, right: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(PBTXT)
    written = read(tmp_path)
    assert written.file is None
    (warning,) = written.warnings
    assert warning.file == str(tmp_path / name)
    assert warning.remedy == f"If it is meant to be it, rename it to {right}."
    (tmp_path / "config.pbtxt").write_text(PBTXT)
    assert read(tmp_path).warnings == ()


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json", "labels.txt", "configs"])
def test_other_files_of_a_model_are_no_wrong_names(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir() if name == "configs" else (tmp_path / name).write_text("{}")
    assert read(tmp_path).warnings == ()


@pytest.mark.parametrize("name", FORMS)
def test_the_forms_say_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMS[name])
    written = read(tmp_path)
    assert written.file == tmp_path / name
    assert written.config.backend == "onnxruntime"
    assert written.config.max_batch_size == 8
    assert written.config.input == (ModelInput(name="I", data_type=DataType.FP32, dims=(3, -1)),)
    assert written.config.dynamic_batching == ModelDynamicBatching(max_queue_delay_microseconds=100)
    assert written.config.parameter("a.b") == "1"
    assert written.warnings == ()


@pytest.mark.parametrize("name", FORMS)
def test_where_each_key_stands(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMS[name])
    lines = {
        "backend": 2,
        "max_batch_size": 3,
        "input": 4,
        "input[0]": 5,
        "input[0].data_type": 5,
        "input[0].dims[1]": 5,
        "input[0].reshape.shape": 5,  # not written: the input is
        "dynamic_batching.preferred_batch_size[0]": 7,
        "parameters['a.b'].string_value": 8,
        "parameters": 8,
        "name": 0,
        "output[0].dims": 0,
    }
    found = read(tmp_path).locate([at(path) for path in lines])
    assert {one.path: one.line for one in found} == lines
    assert all(one.file == str(tmp_path / name) for one in found)
    assert all((one.column > 0) == (one.line > 0) for one in found)
    text = str(next(one for one in found if one.path == "max_batch_size"))
    assert text.startswith(f"{tmp_path / name}:3:")
    assert text.endswith(": max_batch_size: wrong")


def test_a_named_configuration_where_the_model_has_it(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text('backend: "a"')
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "fast.pbtxt").write_text('backend: "b"')
    (tmp_path / "configs" / "small.yaml").write_text("backend: c")
    assert read(tmp_path).config.backend == "a"
    assert read(tmp_path, config_name="fast").config.backend == "b"
    assert read(tmp_path, config_name="small").config.backend == "c"
    assert read(tmp_path, config_name="other").config.backend == "a"
    assert read(tmp_path, config_name="other").file == tmp_path / "config.pbtxt"


@pytest.mark.parametrize("name", ["../config", "a/b", "..", ".", "a\0b"])
def test_a_configuration_name_is_no_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the name of a file"):
        read(tmp_path, config_name=name)


def test_config_pbtxt_counts_where_the_model_has_a_config_json_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text('backend: "python"')
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    written = read(tmp_path)
    assert written.config.backend == "python"
    assert [str(one) for one in written.warnings] == [
        f"{tmp_path / 'config.pbtxt'}: config.json beside it is not read. Remove what is not meant."
    ]


def test_a_config_json_of_another_kind_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "hidden_size": 768}')
    (found,) = problems(tmp_path)
    assert "this is the configuration of something else. Found architectures, hidden_size" in str(found)
    assert "put a config.pbtxt beside it, which may be empty" in str(found)
    (tmp_path / "config.pbtxt").touch()
    assert read(tmp_path).config == ModelConfig()


def test_a_config_json_of_one_misspelt_field(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"inptu": []}')
    assert "Did you mean 'input'?" in str(problems(tmp_path)[0])


def test_json_and_yaml_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "config.yml").write_text("{}")
    (found,) = problems(tmp_path)
    assert "two files for one configuration. Found config.json and config.yml" in str(found)


def test_a_version_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(PBTXT)
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "2.pbtxt").write_text(
        "max_batch_size: 0\n"
        'input [{ name: "J" dims: [ 5 ] }]\n'
        "dynamic_batching { preserve_ordering: true }\n"
        'parameters { key: "c" value { string_value: "2" } }\n'
    )
    (tmp_path / "versions" / "3.yaml").write_text("max_batch_size: 16\nsequence_batching: {}\n")
    (tmp_path / "versions" / "README.md").write_text("not a configuration")
    written = read(tmp_path)
    assert sorted(written.versions) == [2, 3]
    assert written.of_version(1) == written.config
    two, three = written.of_version(2), written.of_version(3)
    assert two.backend == "onnxruntime"
    assert two.max_batch_size == 0  # written, though it is the default
    assert two.input == (ModelInput(name="J", dims=(5,)),)
    assert two.dynamic_batching == ModelDynamicBatching(max_queue_delay_microseconds=100, preserve_ordering=True)
    assert two.parameter("a.b") == "1"
    assert two.parameter("c") == "2"
    assert three.max_batch_size == 16
    assert three.dynamic_batching is None
    assert three.sequence_batching is not None
    base, override = str(tmp_path / "config.pbtxt"), str(tmp_path / "versions" / "2.pbtxt")
    places = {
        "backend": (base, 2),
        "max_batch_size": (override, 1),
        "input[0].data_type": (override, 2),  # the whole list is the override's
        "dynamic_batching.max_queue_delay_microseconds": (base, 7),
        "dynamic_batching.preserve_ordering": (override, 3),
        "parameters['c']": (override, 4),
        "parameters['a.b']": (base, 8),
    }
    found = written.locate([at(path) for path in places], version=2)
    assert {one.path: (one.file, one.line) for one in found} == places
    assert written.locate([at("max_batch_size")])[0].file == base


@pytest.mark.parametrize("field", WHOLE_MODEL)
def test_what_a_version_cannot_have_of_its_own(field: str, tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    values = {"version_policy": {"all": {}}, "model_repository_agents": {}}
    (tmp_path / "versions" / "2.json").write_text(json.dumps({"max_batch_size": 1, field: values.get(field, "x")}))
    (found,) = problems(tmp_path)
    assert f"2.json:1:23: {field}: '{field}' cannot be set for version 2 alone" in str(found)


def test_what_lies_in_versions_and_should_not(tmp_path: Path) -> None:
    folder = tmp_path / "versions"
    folder.mkdir()
    for name in ("0.pbtxt", "one.yaml", "3.json", "3.yaml", "4.pbtxt"):
        (folder / name).write_text("{}" if name != "4.pbtxt" else "nope: 1")
    texts = [str(one) for one in problems(tmp_path)]
    assert len(texts) == 4
    assert "0.pbtxt: not the name of a version. Found '0'" in texts[0]
    assert "3.yaml: two files for one version. Found 3.json and 3.yaml" in texts[1]
    assert "Name it after the version, such as 1.yaml." in texts[2]
    assert "4.pbtxt:1:1: nope: unknown field 'nope'" in texts[3]


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text('max_batchsize: 1\nbackend: "${NOT_SET}"\nmax_batch_size: "x"\n')
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "1.yaml").write_text("input:\n  - nam: I\n    dims: [x]\nname: m\n")
    found = problems(tmp_path)
    assert [(Path(one.file).name, one.line, one.column, one.path) for one in found] == [
        ("config.pbtxt", 1, 1, "max_batchsize"),
        ("config.pbtxt", 2, 10, "backend"),
        ("config.pbtxt", 3, 17, "max_batch_size"),
        ("1.yaml", 2, 5, "input[0].nam"),
        ("1.yaml", 3, 12, "input[0].dims[0]"),
        ("1.yaml", 4, 1, "name"),
    ]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"failed to read text proto from {tmp_path / 'config.pbtxt'}\n")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "config.pbtxt",
            """max_batchsize: 4
input [ { nam: "I" data_type: TYPE_FP32 dims: [ 0 ] } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] }
instance_group [ { kind: KIND_CPU gpus: [ 0 ] count: "x" } ]
version_policy { latest { num_versions: 0 } }
name: "other"
""",
        ),
        (
            "config.yaml",
            """max_batchsize: 4
input: [ { nam: I, data_type: TYPE_FP32, dims: [ 0 ] } ]
dynamic_batching: { preferred_batch_size: [ 4, 8 ] }
instance_group: [ { kind: KIND_CPU, gpus: [ 0 ], count: x } ]
version_policy: { latest: { num_versions: 0 } }
name: other
""",
        ),
    ],
)
def test_what_cannot_be_read_does_not_hide_what_is_wrong_with_the_rest(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert [(one.line, one.path) for one in problems(tmp_path)] == [
        (1, "max_batchsize"),
        (2, "input[0].nam"),
        (2, "input[0].dims[0]"),
        (3, "dynamic_batching.preferred_batch_size[1]"),
        (4, "instance_group[0].gpus"),
        (4, "instance_group[0].count"),
        (5, "version_policy.latest.num_versions"),
    ]


@pytest.mark.parametrize("size", ['"x"', '"8"'])
def test_what_hangs_on_an_unreadable_value_is_not_said(size: str, tmp_path: Path) -> None:
    text = f"max_batch_size: {size} dynamic_batching {{ preferred_batch_size: 4 }} input [ {{ dims: 1.5 format: 1 }} ]"
    (tmp_path / "config.pbtxt").write_text(text)
    assert [one.path for one in problems(tmp_path)] == ["max_batch_size", "input[0].dims[0]", "input[0].format"]


ENVIRONMENT = {"BACKEND": "onnxruntime", "EMPTY": "", "SIZE": "8", "NESTED": "${SIZE}", "KIND": "KIND_CPU"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${BACKEND}", "onnxruntime"),
        ("a${BACKEND}b${SIZE}c", "aonnxruntimeb8c"),
        ("${NOT_SET:-x y}", "x y"),
        ("${EMPTY:-x}", "x"),
        ("${NOT_SET:-}", ""),
        ("${EMPTY}", ""),
        ("${NESTED}", "${SIZE}"),
        ("$${BACKEND}", "${BACKEND}"),
        ("$$${BACKEND}", "$${BACKEND}"),
        ("$BACKEND", "$BACKEND"),
        ("$$TRITON_MODEL_DIRECTORY/env.tar.gz", "$$TRITON_MODEL_DIRECTORY/env.tar.gz"),
        ("100%$", "100%$"),
    ],
)
@pytest.mark.parametrize("form", ["pbtxt", "json", "yaml"])
def test_environment_variables_in_strings(form: str, written: str, meant: str, tmp_path: Path) -> None:
    text = f"default_model_filename: {json.dumps(written)}\nparameters {{ key: {json.dumps(written)} value {{ }} }}"
    if form != "pbtxt":
        text = json.dumps({"default_model_filename": written, "parameters": {written: {}}})
    (tmp_path / f"config.{form}").write_text(text)
    config = read(tmp_path, ENVIRONMENT).config
    assert config.default_model_filename == meant
    assert list(config.parameters) == [written]  # keys are names
    assert read_written(tmp_path, environment=None).config.default_model_filename == written


def test_environment_variables_in_yaml_numbers_and_names(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("max_batch_size: ${SIZE}\ninstance_group: [{kind: '${KIND}'}]\n")
    config = read(tmp_path, ENVIRONMENT).config
    assert config.max_batch_size == 8
    assert config.instance_group[0].kind.name == "KIND_CPU"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("${SIZES}", ["environment variable 'SIZES' is not set", "Did you mean ${SIZE}?", "${SIZES:-default}"]),
        ("${A} ${B}", ["'A' is not set"]),
        ("${1}", ["a ${ that names no variable", "$${"]),
        ("${", ["a ${ that names no variable"]),
        ("${SIZE", ["a ${ that names no variable"]),
        ("${SIZE:8}", ["a ${ that names no variable"]),
    ],
)
def test_variables_that_are_not_there(written: str, says: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(f'\ndefault_model_filename: "{written}"')
    text = str(problems(tmp_path, ENVIRONMENT)[0])
    assert text.startswith(f"{tmp_path / 'config.pbtxt'}:2:25: default_model_filename: ")
    for one in says:
        assert one in text


def test_what_variables_add_up_to_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(f'default_model_filename: "{"${BIG}" * 1000}"')
    (found,) = problems(tmp_path, {"BIG": "x" * 100_000})
    assert "too long once its variables are replaced" in str(found)


def test_the_version_policy_is_the_models(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("version_policy: {all: {}}")
    assert read(tmp_path).config == replace(
        ModelConfig(), version_policy=ModelVersionPolicy(all=ModelVersionPolicy.All())
    )


@pytest.mark.parametrize("name", FORMS)
def test_a_byte_order_mark_and_carriage_returns_are_no_mistake(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + FORMS[name].replace("\n", "\r\n").encode())
    written = read(tmp_path)
    assert written.config.max_batch_size == 8
    assert written.locate([at("max_batch_size")])[0].line == 3


@pytest.mark.parametrize(
    ("name", "text"), [("config.pbtxt", ""), ("config.yaml", "# nothing\n"), ("config.json", "{}")]
)
def test_an_empty_configuration_says_nothing(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read(tmp_path).config == ModelConfig()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("config.json", b"", "config.json:1:1: Unexpected end of string. Expected a value."),
        ("config.pbtxt", b"\xff\xfe", "config.pbtxt:1:1: the file is not UTF-8 text. Found byte 0xff"),
        ("config.yaml", b"a: \xff", "config.yaml:1:4: the file is not UTF-8 text"),
        ("config.json", b"{}\n\x00", "config.json:2:1: Expected end-of-document. Found '\\x00'"),
        ("config.pbtxt", b"name: 'x'\x00", "config.pbtxt:1:10: Expected identifier, got: \\x00"),
        ("config.pbtxt", b"x" * (5 << 20), "config.pbtxt: the file is too big"),
        ("config.yaml", b"x" * (1 << 20), "config.yaml: the file is too big to be read as YAML"),
        ("config.yaml", b"[" * 100_000, "the document is nested too deep"),
        (
            "config.yaml",
            b"- a\n- b\n",
            "config.yaml:1:1: Root element must be a message. Found ['a', 'b']; expected a mapping",
        ),
        ("config.yaml", b"just text", "expected a mapping: one 'key: value' a line"),
    ],
)
def test_broken_files_say_how(name: str, data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert says in str(problems(tmp_path)[0])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.data())
def test_whatever_is_in_a_file_is_read_or_told(name: str, data: Any) -> None:
    whole = FORMS[name].encode()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:])
        try:
            read(Path(folder))
        except ConfigError as error:
            assert error.problems
            assert all(one.file == str(file) for one in error.problems)
            str(error).encode()


def test_an_unreadable_file_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").symlink_to(tmp_path / "gone")
    (found,) = problems(tmp_path)
    assert str(found).startswith(f"{tmp_path / 'config.pbtxt'}: cannot be read: No such file or directory")
    (tmp_path / "config.pbtxt").unlink()
    (tmp_path / "config.pbtxt").mkdir()
    assert "cannot be read. Found a folder" in str(problems(tmp_path)[0])
    (tmp_path / "config.pbtxt").rmdir()
    os.mkfifo(tmp_path / "config.pbtxt")
    assert "cannot be read. Found a folder or a device" in str(problems(tmp_path)[0])
