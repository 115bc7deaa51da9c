"""`atoll validate` and `atoll inspect` of ensembles: what is between models is found without serving them."""

import json
from pathlib import Path

import pytest
from tests.unit.models.tiny import write_model
from tests.unit.server.test_ensemble_loading import write_ensemble

import atoll
from atoll.cli.main import main
from atoll.config.textproto import read_config_text
from atoll.models.ensembles.steps import MOST_NESTED

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An ensemble round another, which comes first in the order of names."""
    write_model(tmp_path, "two", 2)
    write_ensemble(tmp_path, "chain", ["two", "two"])
    write_ensemble(tmp_path, "around", ["chain", "two"])
    return tmp_path


def validate(*words: object) -> int:
    return main(["validate", *map(str, words)])


@pytest.mark.parametrize("options", [(), ("--no-load",)])
def test_all_is_well(repository: Path, options: tuple[str, ...], capsys: Capture) -> None:
    assert validate(repository, *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == [f"{name}: ok (version 1)" for name in ("around", "chain", "two")]


def test_what_is_wrong_between_models_is_found(repository: Path, capsys: Capture) -> None:
    write_ensemble(repository, "large", ["two"], size=100)
    write_ensemble(repository, "lost", ["twoo"])
    write_ensemble(repository, "circle", ["chain", "circle"])
    write_ensemble(repository, "later", ["two:7"])
    assert validate("--json", repository) == 1
    found = {one["model"]: one["problems"] for one in json.loads(capsys.readouterr().out)["models"]}
    assert [name for name, problems in found.items() if problems] == ["circle", "large", "later", "lost"]
    assert "which only allows maximum batch size to be 4" in found["large"][0]["message"]
    assert found["lost"][0]["key"] == "ensemble_scheduling.step[0].model_name"
    assert found["lost"][0]["remedy"] == "Did you mean 'two'?"
    assert found["lost"][0]["line"] == 6
    assert "circular dependency between ensembles: circle -> ... -> circle -> circle" in found["circle"][0]["message"]
    assert "whose required version 7 is not loaded" in found["later"][0]["message"]


def test_a_step_that_cannot_be_loaded_is_a_reason_only_where_it_is_loaded(repository: Path, capsys: Capture) -> None:
    (repository / "two" / "1" / "model.onnx").write_bytes(b"garbage")
    assert validate("--no-load", repository) == 0
    capsys.readouterr()
    assert validate("--json", repository) == 1
    found = {one["model"]: one["problems"] for one in json.loads(capsys.readouterr().out)["models"]}
    assert "ensemble 'chain' depends on 'two' which is not valid. Model 'two' failed" in found["chain"][0]["message"]
    assert "ensemble 'around' depends on 'chain' which is not valid" in found["around"][0]["message"]


def test_an_ensemble_is_shown_as_it_would_be_served(repository: Path, capsys: Capture) -> None:
    assert main(["inspect", str(repository / "around")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# around version 1, an ensemble of chain -> two\n")
    with atoll.Server(repository) as server:
        assert read_config_text(printed, "printed") == server.model("around").config
    (repository / "two" / "1" / "model.onnx").write_bytes(b"garbage")
    assert main(["inspect", str(repository / "around")]) == 2
    assert "ensemble 'around' depends on 'chain' which is not valid" in capsys.readouterr().err


def test_ensembles_too_many_inside_each_other(tmp_path: Path, capsys: Capture) -> None:
    write_model(tmp_path, "two", 2)
    for number in range(400):
        write_ensemble(tmp_path, f"level_{number + 1:03}", [f"level_{number:03}" if number else "two"])
    assert validate("--json", tmp_path) == 1
    found = {one["model"]: one["problems"] for one in json.loads(capsys.readouterr().out)["models"]}
    assert [name for name, problems in found.items() if not problems] == [
        *[f"level_{number:03}" for number in range(1, MOST_NESTED + 1)],
        "two",
    ]
    messages = [one["message"] for problems in found.values() for one in problems]
    assert f"ensemble 'level_0{MOST_NESTED + 1}' has more than {MOST_NESTED} ensembles inside" in messages[0]
    assert max(map(len, messages)) < 5000


def test_the_outermost_of_many_may_come_first(tmp_path: Path, capsys: Capture) -> None:
    write_model(tmp_path, "two", 2)
    for number in range(300):
        write_ensemble(tmp_path, f"level_{300 - number:03}", [f"level_{301 - number:03}" if number else "two"])
    assert validate("--json", tmp_path) == 1
    found = {one["model"]: one["problems"] for one in json.loads(capsys.readouterr().out)["models"]}
    messages = [one["message"] for problems in found.values() for one in problems]
    assert found["level_001"]
    assert not [one for one in messages if "Recursion" in one]
    assert max(map(len, messages)) < 5000
