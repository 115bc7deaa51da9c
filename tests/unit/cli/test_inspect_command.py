"""`atoll inspect`: what a model's file holds, and a config.pbtxt that changes nothing when it is saved."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.models.tiny import scale_model, write_model

import atoll
from atoll.cli.main import main
from atoll.config.json_form import from_json
from atoll.config.model_config import ModelConfig
from atoll.config.textproto import read_config_text

Capture = pytest.CaptureFixture[str]

CONFIG = """
max_batch_size: 6
dynamic_batching { max_queue_delay_microseconds: 300 }
instance_group [ { count: 2 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""


def inspect(*words: object) -> int:
    return main(["inspect", *map(str, words)])


def served(repository: Path, **options: str) -> ModelConfig:
    with atoll.Server(repository, **options) as server:
        return server.models()[0].config


@pytest.mark.parametrize("config", [None, CONFIG], ids=["nothing written", "something written"])
def test_what_is_printed_is_what_the_server_uses_and_saving_it_changes_nothing(
    tmp_path: Path, capsys: Capture, config: str | None
) -> None:
    folder = write_model(tmp_path, "m", 3, config=config)
    before = served(tmp_path)
    assert inspect(folder) == 0
    printed = capsys.readouterr().out
    assert read_config_text(printed, "printed") == before
    (folder / "config.pbtxt").write_text(printed)
    assert served(tmp_path) == before
    assert inspect(folder) == 0
    assert capsys.readouterr().out == printed


def test_what_the_file_holds_is_said_in_comments(tmp_path: Path, capsys: Capture) -> None:
    assert inspect(write_model(tmp_path, "m", 3, version=7)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# m version 7, for the backend onnxruntime"
    assert "# the file has: input IN TYPE_FP32 [-1, 2]" in lines
    assert "# the file has: output OUT TYPE_FP32 [-1, 2]" in lines
    assert any(line.startswith("# it can batch") for line in lines)


def test_the_json_document(tmp_path: Path, capsys: Capture) -> None:
    folder = write_model(tmp_path, "m", 3, config=CONFIG)
    assert inspect(folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    tensor = {"data_type": "TYPE_FP32", "shape": [-1, 2], "optional": False}
    assert (found["model"], found["version"], found["ok"], found["problems"]) == ("m", 1, True, [])
    assert found["file"] == {
        "inputs": [{"name": "IN", **tensor}],
        "outputs": [{"name": "OUT", **tensor}],
        "batching": True,
    }
    assert from_json(found["config"]) == served(tmp_path)


def test_a_bare_file(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "scale.onnx"
    file.write_bytes(scale_model(2))
    assert inspect(file) == 0
    out = capsys.readouterr().out
    assert out.startswith("# scale version 1, for the backend onnxruntime\n")
    assert read_config_text(out, "out") == replace(served(file), name="")


def test_what_is_printed_for_a_file_can_be_saved_beside_it(tmp_path: Path, capsys: Capture) -> None:
    folder = write_model(tmp_path, "resnet", 3)
    assert inspect(folder / "1" / "model.onnx") == 0
    (folder / "config.pbtxt").write_text(capsys.readouterr().out)
    assert served(tmp_path).name == "resnet"


@pytest.mark.parametrize(
    "config",
    [
        'max_batchsize: 4\nbackend: "onnxruntime"',
        'backend: "onnxruntime" input [ { name: "WRONG" data_type: TYPE_FP32 dims: [ 2 ] } ]',
        'backend: "onnxruntime" max_batch_size: -1',
    ],
    ids=["cannot be read", "disagrees with the file", "wrong value"],
)
def test_with_a_broken_configuration_the_file_is_shown_all_the_same(
    tmp_path: Path, capsys: Capture, config: str
) -> None:
    folder = write_model(tmp_path, "m", 3, config=config)
    assert inspect(folder) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {folder / 'config.pbtxt'}:")
    assert "# the file has: input IN TYPE_FP32 [-1, 2]" in captured.out
    assert "CANNOT BE USED" in captured.out
    (folder / "config.pbtxt").write_text(captured.out)  # and what is offered instead is right
    assert inspect(folder) == 0
    assert inspect(folder, "--json") == 0


def test_json_of_a_broken_configuration(tmp_path: Path, capsys: Capture) -> None:
    assert inspect(write_model(tmp_path, "m", 3, config="max_batchsize: 4"), "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert found["problems"][0]["line"] == 1
    assert found["file"]["inputs"][0]["name"] == "IN"


def test_settings_of_the_server_count_as_when_it_is_served(tmp_path: Path, capsys: Capture) -> None:
    folder = write_model(tmp_path, "m", 3)
    assert inspect(folder, "--backend-config=onnxruntime,default-max-batch-size=11") == 0
    assert read_config_text(capsys.readouterr().out, "out").max_batch_size == 11
    settings = 'backend_config { backend: "onnxruntime" parameters { key: "default-max-batch-size" value: "12" } }'
    (tmp_path / "config.pbtxt").write_text(settings)
    assert inspect(folder) == 0
    assert read_config_text(capsys.readouterr().out, "out") == served(tmp_path)
    (tmp_path / "config.pbtxt").unlink()
    (tmp_path / "server.pbtxt").write_text(settings)
    assert inspect(folder, f"--config={tmp_path / 'server.pbtxt'}") == 0
    assert read_config_text(capsys.readouterr().out, "out").max_batch_size == 12


def test_a_named_configuration(tmp_path: Path, capsys: Capture) -> None:
    folder = write_model(tmp_path, "m", 3, config="max_batch_size: 2")
    (folder / "configs").mkdir()
    (folder / "configs" / "big.yaml").write_text("max_batch_size: 32\n")
    assert inspect(folder, "--model-config-name=big") == 0
    assert read_config_text(capsys.readouterr().out, "out").max_batch_size == 32


def test_versions_with_configurations_of_their_own_are_warned_of(tmp_path: Path, capsys: Capture) -> None:
    folder = write_model(tmp_path, "m", 3, config="max_batch_size: 2")
    (folder / "versions").mkdir()
    (folder / "versions" / "2.yaml").write_text("max_batch_size: 32\n")
    assert inspect(folder) == 0
    assert "of their own" not in capsys.readouterr().err  # there is no version 2
    write_model(tmp_path, "m", 3, version=2)
    assert inspect(folder) == 0
    captured = capsys.readouterr()
    assert read_config_text(captured.out, "out").max_batch_size == 32
    assert "warning: " in captured.err
    assert "versions have configurations of their own: 2; this is version 2's" in captured.err


@pytest.mark.parametrize("path", [".", "..", "../", "../../m/"])
def test_paths_that_end_in_dots(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    folder = write_model(tmp_path, "m", 3)
    monkeypatch.chdir(folder / "1" if path.startswith("..") else folder)
    assert inspect(path) == 0
    assert capsys.readouterr().out.startswith("# m version 1")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("models", ["is a repository of the models m, other", "such as {0}/models/m", "atoll validate"]),
        ("models/m/1", ["is a version's folder: name the model's folder, {0}/models/m"]),
        ("models/m/config.pbtxt", ["is a configuration, not a model: name the model's folder, {0}/models/m"]),
        ("", ["holds repositories, such as {0}/models"]),
        ("nothing", ["there is nothing at {0}/nothing"]),
        ("notes.txt", ["is no model file of a kind that is known by its ending"]),
        ("empty", ["at least one version must be available", "put the model file into a folder named 1"]),
        ("half.onnx", ["its 3 bytes are not a whole ONNX model"]),
    ],
)
def test_what_is_no_model(tmp_path: Path, capsys: Capture, path: str, words: list[str]) -> None:
    write_model(tmp_path / "models", "m", 1, config="max_batch_size: 4")
    write_model(tmp_path / "models", "other", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "half.onnx").write_text("hel")
    assert inspect(tmp_path / path) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    for word in words:
        assert word.format(tmp_path) in captured.err
    assert captured.out == ""


def test_as_a_process_in_a_pipe(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m", 3)
    command = [sys.executable, "-m", "atoll", "inspect", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert read_config_text(done.stdout, "stdout") == served(tmp_path)
    assert done.stderr == ""
