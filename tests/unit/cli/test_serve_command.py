"""The command line of `atoll serve`: tritonserver's forms, and what it says of wrong ones."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from atoll.cli.main import main
from atoll.cli.serve_command import add_arguments
from atoll.options import OPTIONS, ServerOptions, library_options


def parse(*words: str) -> Any:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(parser)
    return parser.parse_args(list(words))


def test_every_option_has_its_default() -> None:
    parsed = parse()
    assert {option.field: getattr(parsed, option.field) for option in OPTIONS} == {
        option.field: list(option.default) if option.kind is list else option.default for option in OPTIONS
    }


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--http-port=9000"], "http_port", 9000),
        (["--http-port", "9000"], "http_port", 9000),
        (["--allow-grpc=false"], "allow_grpc", False),
        (["--allow-grpc", "0"], "allow_grpc", False),
        (["--exit-on-error=TRUE"], "exit_on_error", True),
        (["--disable-auto-complete-config"], "disable_auto_complete_config", True),
        (["--model-repository=a", "--model-store", "b"], "model_repository", ["a", "b"]),
        (["--backend-config=onnxruntime,x=1"], "backend_config", ["onnxruntime,x=1"]),
        (["--metrics-interval-ms=250.5"], "metrics_interval_ms", 250.5),
        (["one", "two"], "paths", ["one", "two"]),
    ],
)
def test_tritonservers_forms(words: list[str], field: str, value: object) -> None:
    assert getattr(parse(*words), field) == value


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("--http-port=http", "'http' is not a whole number"),
        ("--http-port=70000", "70000 is more than 65535"),
        ("--exit-timeout-secs=-1", "-1 is less than 0"),
        ("--metrics-interval-ms=nan", "'nan' is not a number"),
        ("--allow-grpc=maybe", "'maybe' is neither true nor false"),
        ("--grpc-transport=carrier-pigeon", "carrier-pigeon"),
        ("--http-prot=1", "--http-prot"),
    ],
)
def test_wrong_values_are_named(word: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", word])
    assert ended.value.code != 0
    assert complaint in capsys.readouterr().err


def test_nothing_to_serve_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve"]) == 1
    assert "name a directory of models or a model file" in capsys.readouterr().err


def test_a_missing_repository_is_said() -> None:
    command = [sys.executable, "-m", "atoll", "serve", "/nonexistent"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "error: failed to stat file /nonexistent" in done.stderr


def test_the_library_takes_its_part_of_the_options() -> None:
    values = {option.field: option.default for option in OPTIONS}
    assert ServerOptions(**library_options(values)) == ServerOptions()


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "serve" in capsys.readouterr().out


def test_a_models_folder_is_no_repository() -> None:
    folder = Path(__file__).parents[3] / "examples" / "models" / "simple"
    command = [sys.executable, "-m", "atoll", "serve", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"hint: {folder} is a model's folder" in done.stderr
    assert f"name the folder above it as the repository, {folder.parent}" in done.stderr
