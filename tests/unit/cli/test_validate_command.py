"""`atoll validate`: all that is wrong at once, each with its place, and an exit status that a pipeline can go by."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.models.tiny import write_model

from atoll.cli.main import main
from atoll.config.problems import Problem

Capture = pytest.CaptureFixture[str]

BROKEN = """max_batchsize: 4
input [ { name: "IN" data_type: TYPE_FLOAT dims: [ 2 ] } ]
parameters { key: "a" value { string_value: "${ATOLL_TEST_UNSET}" } }
"""


def validate(*words: object) -> int:
    return main(["validate", *map(str, words)])


def document(capture: Capture) -> Any:
    return json.loads(capture.readouterr().out)


def test_a_repository_in_which_all_is_well(tmp_path: Path, capsys: Capture) -> None:
    write_model(tmp_path, "one", 1)
    write_model(tmp_path, "two", 2, config="version_policy { all {} }")
    write_model(tmp_path, "two", 2, version=3)
    assert validate(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["one: ok (version 1)", "two: ok (versions 1, 3)", "2 models, 0 cannot be served"]


def test_every_problem_of_every_model_is_said_with_its_place(tmp_path: Path, capsys: Capture) -> None:
    write_model(tmp_path, "broken", 1, config=BROKEN)
    write_model(tmp_path, "fine", 1)
    assert validate(tmp_path) == 1
    out = capsys.readouterr().out
    file = tmp_path / "broken" / "config.pbtxt"
    assert "broken: cannot be served" in out
    assert f"{file}:1:1: " in out
    assert "Did you mean 'max_batch_size'?" in out
    assert f"{file}:2:33: " in out
    assert "Did you mean 'TYPE_FP32'?" in out
    assert f"{file}:3:" in out
    assert "environment variable 'ATOLL_TEST_UNSET' is not set" in out
    assert "fine: ok (version 1)" in out
    assert out.endswith("2 models, 1 cannot be served\n")


def test_the_json_document(tmp_path: Path, capsys: Capture) -> None:
    write_model(tmp_path, "broken", 1, config=BROKEN)
    write_model(tmp_path, "fine", 1)
    assert validate(tmp_path, "--json") == 1
    found = document(capsys)
    assert list(found) == ["ok", "models"]
    assert found["ok"] is False
    broken, fine = found["models"]
    assert fine == {"model": "fine", "repository": str(tmp_path), "ok": True, "versions": [1], "problems": []}
    assert (broken["model"], broken["ok"], broken["versions"]) == ("broken", False, [])
    assert len(broken["problems"]) >= 3
    known = {field for field in Problem.__dataclass_fields__ if field not in ("path", "warning")} | {"severity", "key"}
    for one in broken["problems"]:
        assert one.keys() <= known
        assert one["severity"] == "error"
        assert one["file"] == str(tmp_path / "broken" / "config.pbtxt")
        assert one["line"] in (1, 2, 3)
        assert one["column"] >= 1
        assert one["message"]


def test_model_files_are_opened_unless_told_otherwise(tmp_path: Path, capsys: Capture) -> None:
    folder = write_model(tmp_path, "m", 1, config='backend: "onnxruntime"')
    (folder / "1" / "model.onnx").write_bytes(b"half of a mod")
    assert validate(tmp_path) == 1
    assert "its 13 bytes are not a whole ONNX model" in capsys.readouterr().out
    assert validate(tmp_path, "--no-load") == 0
    assert "m: ok (version 1)" in capsys.readouterr().out


def test_a_config_that_disagrees_with_its_file_shows_both_sides(tmp_path: Path, capsys: Capture) -> None:
    config = 'max_batch_size: 4\ninput [ { name: "IN" data_type: TYPE_FP32 dims: [ -1, 2 ] } ]'
    write_model(tmp_path, "m", 1, config=config)
    assert validate(tmp_path) == 1
    out = capsys.readouterr().out
    assert f"{tmp_path / 'm' / 'config.pbtxt'}:2:" in out
    assert "the model expects 2 dimensions (shape [-1,2])" in out
    assert "making complete shape [-1,-1,2]" in out


def test_what_is_wrong_with_one_version_does_not_hide_another(tmp_path: Path, capsys: Capture) -> None:
    config = 'backend: "onnxruntime" version_policy { all {} }'
    for version in (1, 2, 3):
        write_model(tmp_path, "m", 1, version=version, config=config)
    for version in (1, 2):
        (tmp_path / "m" / str(version) / "model.onnx").write_bytes(b"x" * version)
    assert validate(tmp_path) == 1
    out = capsys.readouterr().out
    assert "version 1: " in out
    assert "version 2: " in out
    assert "version 3: " not in out


def test_what_only_loading_shows_has_its_place_too(tmp_path: Path, capsys: Capture) -> None:
    lines = [
        "max_batch_size: 4",
        'model_warmup { name: "w" batch_size: 1',
        '  inputs { key: "IN" value { data_type: TYPE_FP32 dims: [ 2 ] input_data_file: "none" } } }',
    ]
    write_model(tmp_path, "m", 1, config="\n".join(lines))
    assert validate(tmp_path) == 1
    out = capsys.readouterr().out
    assert re.search(rf"error: {tmp_path}/m/config.pbtxt:[23]:\d+: model_warmup\[0\]\.inputs", out)
    assert validate(tmp_path, "--no-load") == 0


def test_warnings_are_said_and_are_no_failure(tmp_path: Path, capsys: Capture) -> None:
    folder = write_model(tmp_path, "m", 1, config="max_batch_size: 2")
    (folder / "config.yaml").write_text("max_batch_size: 8\n")
    assert validate(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "m: ok (version 1)"
    assert lines[1].startswith(f"  warning: {folder / 'config.pbtxt'}: config.yaml beside it is not read")
    assert lines[2] == "1 model, 0 cannot be served, 1 with a warning"
    assert validate(tmp_path, "--json") == 0
    assert [one["severity"] for one in document(capsys)["models"][0]["problems"]] == ["warning"]


def test_a_name_in_two_repositories(tmp_path: Path, capsys: Capture) -> None:
    for repository in ("a", "b"):
        write_model(tmp_path / repository, "m", 1)
    write_model(tmp_path / "b", "other", 1)
    assert validate(tmp_path / "a", tmp_path / "b") == 1
    out = capsys.readouterr().out
    assert f"model appears in two or more repositories: 'm' is in {tmp_path / 'a'}, {tmp_path / 'b'}" in out
    assert "other: ok (version 1)" in out
    assert validate(tmp_path / "a", tmp_path / "b", "--model-namespacing=true") == 0


def test_a_bare_file(tmp_path: Path, capsys: Capture) -> None:
    folder = write_model(tmp_path, "m", 1)
    assert validate(folder / "1" / "model.onnx") == 0
    assert "model: ok (version 1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "models/m",
            ["is a model's folder", "name the folder above it as the repository, {0}/models", "atoll inspect"],
        ),
        ("models/m/1", ["is a version's folder", "{0}/models"]),
        (".", ["holds repositories, and no models: name {0}/models"]),
        ("nothing", ["model repository path '{0}/nothing' does not exist"]),
        ("empty", ["there are no models in {0}/empty"]),
    ],
)
def test_a_path_beside_the_repository(tmp_path: Path, capsys: Capture, path: str, words: list[str]) -> None:
    write_model(tmp_path / "models", "m", 1, config="max_batch_size: 4")
    (tmp_path / "empty").mkdir()
    assert validate(tmp_path / path) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    for word in words:
        assert word.format(tmp_path) in captured.err
    assert captured.out == ""


def test_json_of_nothing_to_validate_says_so_too(tmp_path: Path, capsys: Capture) -> None:
    assert validate(tmp_path, "--json") == 2
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["ok"], found["models"]) == (False, [])
    assert found["error"] in captured.err


def test_no_path_at_all(capsys: Capture) -> None:
    assert validate() == 2
    assert "name a model repository or a model file" in capsys.readouterr().err


def test_folders_that_are_no_models(tmp_path: Path, capsys: Capture) -> None:
    write_model(tmp_path, "fine", 1)
    (tmp_path / "bare").mkdir()
    (tmp_path / "half" / "1").mkdir(parents=True)
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "config.pbtxt").write_bytes(b"\xff\xfe\0")
    (tmp_path / "garbage" / "1").mkdir()
    write_model(tmp_path, "piped", 1)
    os.mkfifo(tmp_path / "piped" / "1" / "more")
    write_model(tmp_path, "linked", 1)
    (tmp_path / "linked" / "labels.txt").symlink_to("/etc/hostname")
    write_model(tmp_path, "gone", 1)
    (tmp_path / "gone" / "1" / "model.onnx").unlink()
    (tmp_path / "gone" / "1" / "model.onnx").symlink_to("nowhere")
    assert validate(tmp_path, "--json") == 1
    texts = {one["model"]: " ".join(map(str, one["problems"])) for one in document(capsys)["models"]}
    assert "at least one version must be available" in texts["bare"]
    assert "Could not determine backend for model 'half'" in texts["half"]
    assert "not UTF-8" in texts["garbage"]
    assert "a named pipe" in texts["piped"]
    assert "outside of the repository" in texts["linked"]
    assert "where there is nothing" in texts["gone"]
    assert texts["fine"] == ""


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_model_that_may_not_be_read(tmp_path: Path, capsys: Capture) -> None:
    folder = write_model(tmp_path, "m", 1)
    write_model(tmp_path, "fine", 1)
    folder.chmod(0)
    try:
        assert validate(tmp_path) == 1
    finally:
        folder.chmod(0o700)
    out = capsys.readouterr().out
    assert "Permission denied" in out
    assert "fine: ok" in out


def test_what_an_agent_refuses(tmp_path: Path, capsys: Capture) -> None:
    agents = (
        'model_repository_agents { agents { name: "checksum" parameters { key: "MD5:1/model.onnx" value: "%s" } } }'
    )
    write_model(tmp_path, "m", 1, config=agents % ("0" * 32))
    assert validate(tmp_path) == 1
    assert "Mismatched MD5 hash for file 1/model.onnx" in capsys.readouterr().out


def test_the_servers_own_settings_count(tmp_path: Path, capsys: Capture) -> None:
    write_model(tmp_path / "models", "m", 1)
    file = tmp_path / "server.yaml"
    file.write_text("backend_config:\n  - backend: onnxruntime\n    parameters: { intra_op_thread_count: many }\n")
    assert validate(tmp_path / "models", f"--config={file}") == 1
    assert "intra_op_thread_count" in capsys.readouterr().out
    file.write_text("backend_configs: []\n")
    assert validate(tmp_path / "models", f"--config={file}") == 2
    assert "Did you mean 'backend_config'?" in capsys.readouterr().err


def test_models_that_only_the_servers_file_lists(tmp_path: Path, capsys: Capture) -> None:
    write_model(tmp_path / "elsewhere", "weights", 1)
    file = tmp_path / "server.pbtxt"
    file.write_text('model_config_list { config { name: "m" base_path: "elsewhere/weights" } }')
    assert validate(f"--config={file}") == 0
    assert "m: ok (version 1)" in capsys.readouterr().out


def test_as_a_process_in_a_pipe(tmp_path: Path) -> None:
    write_model(tmp_path, "broken", 1, config=BROKEN)
    command = [sys.executable, "-m", "atoll", "validate", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "broken: cannot be served" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", [["validate"], ["inspect"], ["validate", "--json"], ["inspect", "--json"]])
def test_a_reader_that_has_enough(tmp_path: Path, command: list[str]) -> None:
    folder = write_model(tmp_path, "m", 1)
    target = folder if command[0] == "inspect" else tmp_path
    reading, writing = os.pipe()
    os.close(reading)
    try:
        words = [sys.executable, "-m", "atoll", *command, str(target)]
        done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(writing)
    assert done.returncode == 128 + 13
    assert done.stderr == ""
