"""The server's configuration file, in its three forms, and all that can be wrong with it."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from atoll.config.fields import fields_of
from atoll.config.model_config import ModelConfig, ModelVersionPolicy
from atoll.config.schema import POOL
from atoll.config.server_config import ListedModel, ServerConfig, read_server_config
from atoll.config.server_records import ServerConfigFile
from atoll.errors import ConfigError

PBTXT = """
model_config_list {
  config {
    name: "resnet"
    base_path: "vision/resnet"
    model_platform: "onnxruntime_onnx"
    model_version_policy { latest { num_versions: 2 } }
  }
  config { name: "bert" model_version_policy { specific { versions: [1, 3] } } }
}
backend_config { backend: "onnxruntime" parameters { key: "default-max-batch-size" value: "8" } }
backend_config { backend: "onnxruntime" parameters { key: "intra_op_thread_count" value: "2" } }
backend_config { backend: "python" parameters { key: "x" value: "y" } }
model_config { memory_pool_byte_size: 1048576 memory_pool_alignment: 128 }
"""
DOCUMENT = {
    "model_config_list": {
        "config": [
            {
                "name": "resnet",
                "base_path": "vision/resnet",
                "model_platform": "onnxruntime_onnx",
                "model_version_policy": {"latest": {"num_versions": 2}},
            },
            {"name": "bert", "model_version_policy": {"specific": {"versions": [1, 3]}}},
        ]
    },
    "backend_config": [
        {"backend": "onnxruntime", "parameters": {"default-max-batch-size": "8", "intra_op_thread_count": "2"}},
        {"backend": "python", "parameters": {"x": "y"}},
    ],
    "model_config": {"memory_pool_byte_size": 1048576, "memory_pool_alignment": 128},
}
YAML = """
model_config_list:
  config:
    - name: resnet
      base_path: vision/resnet
      model_platform: onnxruntime_onnx
      model_version_policy: { latest: { num_versions: 2 } }
    - name: bert
      model_version_policy: { specific: { versions: [1, 3] } }
backend_config:
  - backend: onnxruntime
    parameters: { default-max-batch-size: "8", intra_op_thread_count: "2" }
  - backend: python
    parameters: { x: "y" }
model_config: { memory_pool_byte_size: 1048576, memory_pool_alignment: 128 }
"""


def read(path: Path, text: str, environment: Mapping[str, str] | None = None) -> ServerConfig:
    path.write_text(text)
    return read_server_config(path, environment or {})


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.pbtxt", PBTXT), ("a.json", json.dumps(DOCUMENT)), ("a.yaml", YAML), ("a.yml", YAML)],
)
def test_the_forms_say_the_same(name: str, text: str, tmp_path: Path) -> None:
    latest = ModelVersionPolicy(latest=ModelVersionPolicy.Latest(num_versions=2))
    specific = ModelVersionPolicy(specific=ModelVersionPolicy.Specific(versions=(1, 3)))
    assert read(tmp_path / name, text) == ServerConfig(
        models=(
            ListedModel(
                "resnet",
                str(tmp_path / "vision" / "resnet"),
                ModelConfig(platform="onnxruntime_onnx", version_policy=latest),
            ),
            ListedModel("bert", None, ModelConfig(version_policy=specific)),
        ),
        backends={
            "onnxruntime": {"default-max-batch-size": "8", "intra_op_thread_count": "2"},
            "python": {"x": "y"},
        },
        memory_pool_byte_size=1048576,
        memory_pool_alignment=128,
        file=tmp_path / name,
    )


@pytest.mark.parametrize("name", ["a.pbtxt", "a.yaml"])
def test_nothing_is_said(name: str, tmp_path: Path) -> None:
    assert read(tmp_path / name, "# nothing\n") == ServerConfig((), {}, None, None, tmp_path / name)


def test_no_memory_is_not_no_word_of_it(tmp_path: Path) -> None:
    assert read(tmp_path / "a.pbtxt", "model_config { memory_pool_byte_size: 0 }").memory_pool_byte_size == 0


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("m", "{folder}/m"),
        ("/abs/m", "/abs/m"),
        ("file:///abs/m%20n", "/abs/m n"),
        ("${MODELS}/m", "/srv/m"),
        ("s3://https://host:9000/bucket/m", "s3://https://host:9000/bucket/m"),
        ("gs://bucket/m", "gs://bucket/m"),
    ],
)
def test_where_a_listed_model_lies(written: str, place: str, tmp_path: Path) -> None:
    text = f'model_config_list {{ config {{ name: "m" base_path: "{written}" }} }}'
    (model,) = read(tmp_path / "a.pbtxt", text, {"MODELS": "/srv"}).models
    assert model.base_path == place.format(folder=tmp_path)


WRONG = """model_config_list {
  config { name: "resnet" model_platform: "onnxruntime_onx" model_version_policy { latest {} } }
  config { name: "resnet" }
  config { base_path: "x" }
  config { name: "a/b" }
}
backend_config { backend: "onnxruntime" parameters { key: "a" value: "1" } }
backend_config { backend: "onnxruntime" parameters { key: "a" value: "2" } }
backend_config {}
model_config { memory_pool_alignment: 65 }
"""


def test_everything_that_is_wrong_at_once(tmp_path: Path) -> None:
    file = tmp_path / "server.pbtxt"
    with pytest.raises(ConfigError) as caught:
        read(file, WRONG)
    problems = caught.value.problems
    assert [(one.line, one.path) for one in problems] == [
        (2, "model_config_list.config[0].model_platform"),
        (2, "model_config_list.config[0].model_version_policy.latest.num_versions"),
        (3, "model_config_list.config[1].name"),
        (4, "model_config_list.config[2].name"),
        (5, "model_config_list.config[3].name"),
        (8, "backend_config[1].parameters['a']"),
        (9, "backend_config[2].backend"),
        (10, "model_config.memory_pool_alignment"),
    ]
    text = str(caught.value)
    for one in problems:
        assert one.file == str(file)
        assert str(one) in text
    for says in (
        "Did you mean 'onnxruntime_onnx'?",
        "model 'resnet' is listed twice",
        "Put the folder into base_path.",
        "a setting of backend 'onnxruntime' is given twice",
        "expected a power of two from 1 to 2097152",
    ):
        assert says in text


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.pbtxt", "model_config_lst {}", "a.pbtxt:1:1: model_config_lst: unknown field"),
        ("a.pbtxt", "model_config_lst {}", "Did you mean 'model_config_list'?"),
        ("a.pbtxt", "model_config { memory_pool_byte_size: -1 }", "Expected integer, got: -1"),
        ("a.yaml", "backend_config:\n  - backend: 3", "a.yaml:2:5: (backend_config[0].backend): invalid value 3"),
        ("a.json", "{", "a.json:1:2: Unexpected end of string"),
        ("a.yaml", "backend_config: {backend: '${NOT_SET}'}", "environment variable 'NOT_SET' is not set"),
        ("a.yaml", "backend_config: {backend: ${NOT_SET}}", "a.yaml:1:28: expected ',' or '}'"),
        ("a.yaml", "backend_config: {backend: ${NOT_SET}}", "Quote a text with ${NAME} that stands inside { } or [ ]."),
        ("a.toml", "", "the form of the file is not known. Found '.toml'; expected one of .pbtxt, .json, .yaml, .yml"),
        ("a.pbtxt", 'backend: "x"\nmax_batch_size: 8', "a.pbtxt:1:1: this is a model's configuration"),
    ],
)
def test_what_is_wrong(name: str, text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / name, text)
    assert says in str(caught.value)


def test_a_models_configuration_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name the folder above it as the repository"):
        read(tmp_path / "config.pbtxt", 'name: "m"\ninput [ { name: "I" } ]')


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.pbtxt: cannot be read: No such file"):
        read_server_config(tmp_path / "gone.pbtxt", {})
    with pytest.raises(ConfigError, match=r"gone: cannot be read: No such file"):
        read_server_config(tmp_path / "gone", {})
    with pytest.raises(ConfigError, match=r"cannot be read\. Found a folder"):
        (tmp_path / "folder.yaml").mkdir()
        read_server_config(tmp_path / "folder.yaml", {})


def test_the_records_are_the_schemas() -> None:
    def compare(record: type, name: str) -> None:
        descriptor = POOL.FindMessageTypeByName(name)
        assert sorted(one.name for one in descriptor.fields) == sorted(one.name for one in fields(record))
        for one in fields_of(record):
            if one.record is not None and one.record is not ModelVersionPolicy:
                compare(one.record, f"atoll.{one.record.__qualname__}")

    compare(ServerConfigFile, "atoll.ServerConfigFile")
