"""What SageMaker's environment makes of the options."""

import argparse

import pytest

from atoll.cli import sagemaker_command
from atoll.cli.arguments import values_of
from atoll.errors import InvalidArgumentError
from atoll.frontends.sagemaker.container import _VARIABLES, container_arguments, default_model


def values(*words: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    sagemaker_command.add_arguments(parser)
    return dict(values_of(parser.parse_args(words)))


def test_only_sagemaker_is_listened_to() -> None:
    found = values("serve")
    assert found["allow_sagemaker"]
    assert not (found["allow_http"])
    assert not (found["allow_grpc"])
    assert not (found["allow_metrics"])
    assert (found["model_control_mode"], found["sagemaker_port"]) == ("explicit", 8080)


def test_the_environment_says_otherwise_and_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SAGEMAKER_BIND_TO_PORT": "9999",
        "SAGEMAKER_SAFE_PORT_RANGE": "9000-9999",
        "SAGEMAKER_TRITON_THREAD_COUNT": "2",
        "SAGEMAKER_TRITON_ALLOW_GRPC": "true",
        "SAGEMAKER_TRITON_GRPC_PORT": "9001",
        "SAGEMAKER_TRITON_ALLOW_METRICS": "true",
        "SAGEMAKER_TRITON_METRICS_PORT": "9002",
        "SAGEMAKER_TRITON_LOG_VERBOSE": "1",
        "SAGEMAKER_TRITON_LOG_INFO": "false",
        "SAGEMAKER_TRITON_SHM_DEFAULT_BYTE_SIZE": "16777216",
    }.items():
        monkeypatch.setenv(name, value)
    found = values("--grpc-port=9003")
    assert (found["sagemaker_port"], found["sagemaker_safe_port_range"]) == (9999, "9000-9999")
    assert (found["sagemaker_thread_count"], found["allow_grpc"], found["grpc_port"]) == (2, True, 9003)
    assert (found["allow_metrics"], found["metrics_port"]) == (True, 9002)
    assert (found["log_verbose"], found["log_info"]) == (1, False)
    assert found["backend_config"] == ["python,shm-default-byte-size=16777216"]


@pytest.mark.parametrize("name", _VARIABLES)
def test_an_empty_variable_is_none(name: str) -> None:
    assert container_arguments({name: ""}) == container_arguments({})


def test_the_one_model() -> None:
    assert default_model({}, ["only"]) == "only"
    assert default_model({"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "b"}, ["a", "b"]) == "b"
    for environment, folders, text in (
        ({}, [], "no model found in /opt/ml/model"),
        ({}, ["a", "b"], r"more than one model \(a, b\) found"),
        ({"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "c"}, ["a"], "=c: there is no folder of that name"),
    ):
        with pytest.raises(InvalidArgumentError, match=text):
            default_model(environment, folders)


def test_an_archive_that_is_none_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.setattr("atoll.frontends.sagemaker.container.MODEL_FOLDER", f"{tmp_path}/nothing")
    parser = argparse.ArgumentParser()
    sagemaker_command.add_arguments(parser)
    assert sagemaker_command.run(parser.parse_args(["serve"])) == 1
    assert "no model found" in capsys.readouterr().err
