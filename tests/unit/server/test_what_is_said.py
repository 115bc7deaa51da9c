"""What an operator reads who has made one of the usual mistakes: where it is, what was found, and what to do."""

import threading
from pathlib import Path

import numpy as np
import pytest
from tests.unit.models.tiny import replace_file, scale_model, write_model

import atoll
from atoll.models.fleet import Fleet
from atoll.options import ServerOptions

ONES = np.ones((1, 2), np.float32)


def said_of(repository: Path, name: str = "m") -> str:
    """The errors and warnings of one model, a line each."""
    fleet = Fleet(ServerOptions(model_repository=(str(repository),)), {})
    try:
        (found,) = [one for one in fleet.diagnose() if one.model == name]
    finally:
        fleet.stop(0)
    return "\n".join(str(problem) for problem in found.problems)


@pytest.mark.parametrize(
    ("written", "place", "near"),
    [
        ('max_batch_size: 4\nbackend: "onnx"', "config.pbtxt:2:1: backend: ", "onnxruntime"),
        ('backend: "onnxruntim"', "config.pbtxt:1:1: backend: ", "onnxruntime"),
        ('backend: "onnxruntime_onnx"', "config.pbtxt:1:1: backend: ", "onnxruntime"),
    ],
)
def test_a_backend_that_nobody_offers(tmp_path: Path, written: str, place: str, near: str) -> None:
    write_model(tmp_path, "m", 2, config=written)
    said = said_of(tmp_path)
    assert place + "unable to find backend library for backend" in said
    assert f"Did you mean '{near}'?" in said
    assert len(said.splitlines()) == 1


def test_a_wrong_parameter_has_its_line_beside_other_mistakes(tmp_path: Path) -> None:
    write_model(
        tmp_path,
        "m",
        2,
        config='parameters { key: "intra_op_thread_count" value { string_value: "many" } }\n'
        "dynamic_batching { preferred_batch_size: [ 9 ] }\nmax_batch_size: 8",
    )
    first, second = said_of(tmp_path).splitlines()
    assert "config.pbtxt:1:" in first
    assert "intra_op_thread_count" in first
    assert "config.pbtxt:2:" in second


def test_a_version_policy_of_nothing_is_one_mistake(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 2, config="version_policy { latest { num_versions: 0 } }")
    assert len(said_of(tmp_path).splitlines()) == 1


def test_a_configuration_for_a_version_that_is_not_there(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m", 2)
    (folder / "versions").mkdir()
    (folder / "versions" / "2.pbtxt").write_text("max_batch_size: 2")
    assert "there is a configuration for version 2, but no folder 2" in said_of(tmp_path)


def test_folders_that_are_no_versions_are_named(tmp_path: Path) -> None:
    (tmp_path / "m" / "v1").mkdir(parents=True)
    replace_file(tmp_path / "m" / "model.onnx", scale_model(2))
    assert "found model.onnx, v1; versions are folders named by a whole number" in said_of(tmp_path)


def test_a_misspelt_model_name(tmp_path: Path) -> None:
    write_model(tmp_path, "resnet", 2)
    with (
        atoll.Server(tmp_path, model_control_mode="explicit") as server,
        pytest.raises(atoll.AtollError, match="did you mean 'resnet'"),
    ):
        server.load_model("resent")


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ('name: "chcksum"', "unable to find repository agent 'chcksum'"),
        ('name: "checksum" parameters { key: "MD5:1/model.onnx" value: "0123456789abcdef0123456789abcdef" }', "MD5"),
    ],
)
def test_agents_that_refuse_or_are_not_there(tmp_path: Path, agent: str, said: str) -> None:
    write_model(tmp_path, "m", 2, config=f"max_batch_size: 4\nmodel_repository_agents {{ agents [ {{ {agent} }} ] }}")
    (line,) = said_of(tmp_path).splitlines()
    assert "config.pbtxt:2:1: model_repository_agents: " in line
    assert said in line
    with pytest.raises(atoll.ConfigError, match=r"config\.pbtxt:2:1"):
        atoll.Server(tmp_path).start()


def test_settings_for_a_backend_that_nobody_offers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_model(tmp_path, "m", 2)
    with atoll.Server(tmp_path, backend_config=["onnxruntim,intra_op_thread_count=1"]):
        assert "a backend 'onnxruntim', which no installed package offers; did you mean 'onnxruntime'?" in caplog.text


@pytest.mark.parametrize("by_link", [False, True])
def test_a_repository_may_list_its_own_models(tmp_path: Path, by_link: bool) -> None:
    repository = tmp_path / "models"
    write_model(repository, "m", 2)
    write_model(repository, "m", 4, version=2)
    write_model(tmp_path / "elsewhere", "other", 3)
    (repository / "config.pbtxt").write_text(
        'model_config_list { config { name: "m" base_path: "m" model_version_policy { all {} } } '
        'config { name: "third" base_path: "../elsewhere/other" } }'
    )
    named = repository
    if by_link:
        named = tmp_path / "link"
        named.symlink_to(repository)
    with atoll.Server(named) as server:
        assert [(one.name, one.version) for one in server.models()] == [("m", "1"), ("m", "2"), ("third", "1")]


def test_a_sleeping_model_whose_files_change_is_not_loaded_half(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 2)
    options = {"model_control_mode": "poll", "repository_poll_secs": 0.1, "repository_settle_secs": 0.4}
    with atoll.Server(tmp_path, model_memory_budget="50%", **options) as server:
        whole = scale_model(5, weight_bytes=100_000)
        with (tmp_path / "m" / "1" / "model.onnx").open("wb") as file:
            file.write(whole[:50_000])
            file.flush()
            with pytest.raises(atoll.UnavailableError, match="files are changing"):
                server.infer("m", {"IN": ONES})
            file.write(whole[50_000:])
        for _ in range(600):
            try:
                assert float(server.infer("m", {"IN": ONES})["OUT"][0, 0]) == 5
                return
            except atoll.UnavailableError:
                threading.Event().wait(0.05)
        raise AssertionError("it never came to rest")
