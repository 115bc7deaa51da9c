"""The checksum agent lets exactly the expected files pass."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from atoll.config.model_config import ModelConfig
from atoll.errors import ConfigError
from atoll.repositories.agents.api import Action, AgentModel
from atoll.repositories.agents.checksum import ChecksumAgent

CONTENT = b"\x00model\n" * 100_000


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Mapping[str, str]], Path | None]:
    (tmp_path / "m/1").mkdir(parents=True)
    (tmp_path / "m/1/model.onnx").write_bytes(CONTENT)
    (tmp_path / "m/labels.txt").write_bytes(b"")

    def new_folder() -> Path:
        raise AssertionError("the agent needs no folder")

    def act(parameters: Mapping[str, str], action: Action = Action.LOAD) -> Path | None:
        return ChecksumAgent().act(action, AgentModel("m", tmp_path / "m", ModelConfig(), parameters, new_folder))

    return act


@pytest.mark.parametrize("kind", ["MD5", "SHA1", "SHA256", "SHA512"])
def test_the_right_sum_passes_and_a_wrong_one_is_shown(
    check: Callable[[Mapping[str, str]], Path | None], kind: str
) -> None:
    right = hashlib.new(kind.lower(), CONTENT).hexdigest()
    wrong = hashlib.new(kind.lower(), b"another").hexdigest()
    empty = hashlib.new(kind.lower()).hexdigest()
    assert check({f"{kind}:1/model.onnx": right, f"{kind}:labels.txt": empty}) is None
    assert check({f"{kind.lower()}:1/model.onnx": f" {right.upper()}\n"}) is None
    with pytest.raises(ConfigError) as caught:
        check({f"{kind}:1/model.onnx": wrong, f"{kind}:labels.txt": empty})
    assert f"Mismatched {kind} hash for file 1/model.onnx, expect: {wrong}, got: {right}; restore" in str(caught.value)
    assert "labels.txt" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("1/model.onnx", "0" * 32, "parameter '1/model.onnx' names no known hash; write one of MD5, SHA1, SHA256"),
        ("CRC:1/model.onnx", "0" * 32, "parameter 'CRC:1/model.onnx' names no known hash"),
        ("MD5:1/model.onnx", "0" * 31, "value of parameter 'MD5:1/model.onnx' is '0{31}'; expected 32 hexadecimal"),
        ("SHA256:1/model.onnx", "0" * 32, "expected 64 hexadecimal digits"),
        ("MD5:1/model.onnx", "g" * 32, "expected 32 hexadecimal digits"),
        ("MD5:1/model.onnx", "", "expected 32 hexadecimal digits"),
        ("MD5:absent", "0" * 32, "cannot read '.*/m/absent' of parameter 'MD5:absent': No such file"),
        ("MD5:1", "0" * 32, "'.*/m/1' of parameter 'MD5:1' is not a file"),
        ("MD5:pipe", "0" * 32, "'.*/m/pipe' of parameter 'MD5:pipe' is not a file"),
        ("MD5:", "0" * 32, "must name a file by its path inside of the model's folder"),
        ("MD5:/etc/passwd", "0" * 32, "must name a file by its path inside"),
        ("MD5:../../etc/passwd", "0" * 32, "must name a file by its path inside"),
        ("MD5:a\0b", "0" * 32, "embedded null"),
    ],
)
def test_parameters_that_cannot_be_checked(
    check: Callable[[Mapping[str, str]], Path | None], tmp_path: Path, key: str, value: str, reason: str
) -> None:
    os.mkfifo(tmp_path / "m/pipe")
    with pytest.raises(ConfigError, match=reason):
        check({key: value})


def test_all_that_is_wrong_is_in_one_error(check: Callable[[Mapping[str, str]], Path | None]) -> None:
    with pytest.raises(ConfigError, match=r"refuses model 'm': Mismatched MD5 .*; cannot read .*; parameter 'x'"):
        check({"MD5:labels.txt": "0" * 32, "SHA1:absent": "0" * 40, "x": ""})


def test_nothing_to_check_is_a_mistake(check: Callable[[Mapping[str, str]], Path | None]) -> None:
    with pytest.raises(ConfigError, match="the checksum agent of model 'm' has nothing to check; give it a parameter"):
        check({})


def test_it_looks_at_nothing_but_loads(check: Callable[..., Path | None]) -> None:
    for action in set(Action) - {Action.LOAD}:
        assert check({"MD5:absent": "0" * 32}, action) is None
