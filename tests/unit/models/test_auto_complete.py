"""Configurations that a model's own code completes: what it is shown, what it may change, and what is said of it."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.models.coded_backend import CodedBackend, install, tensors, write_folder

import atoll
from atoll.config.model_config import ModelConfig

BARE = 'backend: "coded"\n'
WHOLE = BARE + (
    "max_batch_size: 4\n"
    "input [ { name: 'IN' data_type: TYPE_FP32 dims: 4 } ]\n"
    "output [ { name: 'OUT' data_type: TYPE_FP32 dims: 4 } ]\n"
)


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CodedBackend:
    made = CodedBackend()
    install(made, tmp_path / "site", monkeypatch)
    return made


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def config_of(repository: Path, **options: Any) -> ModelConfig:
    with atoll.Server(repository, **options) as server:
        return server.model("m").config


def problems_of(repository: Path, **options: Any) -> list[Any]:
    with pytest.raises(atoll.ConfigError) as caught:
        atoll.Server(repository, **options).start()
    return list(caught.value.problems)


def test_code_says_what_the_configuration_leaves_out(repository: Path, backend: CodedBackend) -> None:
    write_folder(repository, "m", BARE)
    backend.complete = tensors(max_batch_size=3, dynamic_batching={}, model_transaction_policy={"decoupled": False})
    with atoll.Server(repository) as server:
        config = server.model("m").config
        assert server.infer("m", {"IN": np.ones((2, 4), np.float32)})["OUT"].tolist() == [[2] * 4] * 2
    assert (config.max_batch_size, [one.name for one in config.input]) == (3, ["IN"])
    assert config.dynamic_batching is not None
    assert config.dynamic_batching.preferred_batch_size == (3,)
    assert config.model_transaction_policy is not None


def test_code_is_shown_the_defaults(repository: Path, backend: CodedBackend) -> None:
    write_folder(repository, "m", BARE)
    backend.complete = tensors()
    config_of(repository)
    [shown] = backend.shown
    assert (shown["name"], shown["max_batch_size"], shown["input"]) == ("m", 0, [])
    assert shown["version_policy"] == {"latest": {"num_versions": 1}}
    assert [(one["name"], one["kind"], one["count"]) for one in shown["instance_group"]] == [("m", "KIND_CPU", 1)]


def test_code_may_change_what_is_written(repository: Path, backend: CodedBackend) -> None:
    write_folder(repository, "m", WHOLE)
    backend.complete = tensors(max_batch_size=7, input=[{"name": "IN", "data_type": "TYPE_INT8", "dims": [-1]}])
    config = config_of(repository)
    assert (config.max_batch_size, config.input[0].dims) == (7, (-1,))


def test_code_may_leave_all_as_it_is(repository: Path, backend: CodedBackend) -> None:
    write_folder(repository, "m", WHOLE)
    backend.complete = lambda document: None
    assert config_of(repository).max_batch_size == 4


def test_a_model_may_have_no_tensors(repository: Path, backend: CodedBackend) -> None:
    write_folder(repository, "m", BARE)
    assert config_of(repository).input == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "other"),
        ("backend", "other"),
        ("instance_group", [{"count": 3, "kind": "KIND_CPU"}]),
        ("parameters", {"p": {"string_value": "q"}}),
        ("version_policy", {"all": {}}),
        ("default_model_filename", "x.py"),
        ("metric_tags", {"a": "b"}),
    ],
)
def test_other_changes_are_ignored_and_told(
    repository: Path, backend: CodedBackend, caplog: pytest.LogCaptureFixture, key: str, value: Any
) -> None:
    folder = write_folder(repository, "m", BARE)
    backend.complete = tensors()
    before = config_of(repository)
    backend.complete = tensors(**{key: value})
    caplog.clear()
    assert config_of(repository) == before
    [warning] = [one.message for one in caplog.records if one.levelno == logging.WARNING]
    assert warning.startswith(f"{folder}/1/model.coded: {key}: auto_complete_config cannot change this")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"nonsense": 3}, "nonsense"),
        ({"max_batch_size": "many"}, "max_batch_size"),
        ({"input": [{"name": "IN", "data_type": "TYPE_FLOAT", "dims": [4]}]}, "TYPE_FLOAT"),
        ({"dynamic_batching": None, "sequence_batching": {"direct": {}}}, "the configuration says dynamic_batching"),
        ({"dynamic_batching": None}, "the configuration says dynamic_batching"),
    ],
)
def test_what_is_no_configuration_changes_nothing_and_is_told(
    repository: Path, backend: CodedBackend, caplog: pytest.LogCaptureFixture, change: dict[str, Any], text: str
) -> None:
    folder = write_folder(repository, "m", WHOLE + "dynamic_batching { }\n")
    backend.complete = lambda document: {**document, "max_batch_size": 2, **change}
    assert config_of(repository).max_batch_size == 4
    warnings = [one.message for one in caplog.records if one.levelno == logging.WARNING]
    assert any(f"{folder}/1/model.coded" in one and "returned is not used" in one and text in one for one in warnings)


def test_a_scheduler_keeps_the_users_settings(
    repository: Path, backend: CodedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(repository, "m", WHOLE + "dynamic_batching { max_queue_delay_microseconds: 5 }\n")
    backend.complete = lambda document: {**document, "dynamic_batching": {"max_queue_delay_microseconds": 9}}
    config = config_of(repository)
    assert config.dynamic_batching is not None
    assert config.dynamic_batching.max_queue_delay_microseconds == 5
    assert "dynamic_batching: auto_complete_config cannot change this" in caplog.text


def test_what_the_code_got_wrong_stands_in_its_file(repository: Path, backend: CodedBackend) -> None:
    folder = write_folder(repository, "m", BARE + "instance_group [ { kind: KIND_GPU gpus: 77 } ]\n")
    backend.complete = tensors(max_batch_size=-1, output=[{"name": "OUT", "data_type": "TYPE_FP32", "dims": [0]}])
    found = {one.path: one for one in problems_of(repository)}
    assert found["max_batch_size"].file == found["output[0].dims[0]"].file == str(folder / "1/model.coded")
    assert "so auto_complete_config returned it" in found["max_batch_size"].message
    group = next(one for path, one in found.items() if path.startswith("instance_group"))
    assert group.file == str(folder / "config.pbtxt")


def test_missing_types_are_told_when_the_code_does_not_say_them(repository: Path, backend: CodedBackend) -> None:
    folder = write_folder(repository, "m", BARE + "input [ { name: 'IN' dims: 4 } ]\n")
    backend.complete = lambda document: None
    [problem] = problems_of(repository)
    assert "model input 'IN' must specify 'data_type' for m" in problem.message
    assert problem.file == str(folder / "config.pbtxt")


def test_code_that_fails(repository: Path, backend: CodedBackend) -> None:
    write_folder(repository, "m", BARE)
    backend.error = atoll.InternalError("ValueError: boom")
    with pytest.raises(atoll.ConfigError, match="ValueError: boom"):
        atoll.Server(repository).start()


def test_code_is_not_asked_where_the_operator_says_so(repository: Path, backend: CodedBackend) -> None:
    write_folder(repository, "m", WHOLE)
    assert config_of(repository, disable_auto_complete_config=True).max_batch_size == 4
    assert not backend.shown


def test_a_decoupled_model_needs_a_backend_that_takes_requests(repository: Path, backend: CodedBackend) -> None:
    write_folder(repository, "m", BARE)
    backend.complete = tensors(model_transaction_policy={"decoupled": True})
    [problem] = problems_of(repository)
    assert problem.path == "model_transaction_policy.decoupled"
