"""A server that follows its repository, with real files and its own thread."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.unit.models.tiny import replace_file, scale_model, write_model

import atoll

pytestmark = pytest.mark.slow  # it waits until folders have settled

ONES = np.ones((1, 2), np.float32)


def factor_of(server: atoll.Server, name: str = "m") -> float | None:
    try:
        return float(server.infer(name, {"IN": ONES})["OUT"][0, 0])
    except (atoll.NotFoundError, atoll.UnavailableError):
        return None


def until(server: atoll.Server, name: str, factor: float | None) -> None:
    for _ in range(600):
        if factor_of(server, name) == factor:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"'{name}' never answered with {factor}: {server.repository_index()}")


@pytest.fixture
def server(tmp_path: Path) -> atoll.Server:
    write_model(tmp_path, "m", 2)
    return atoll.Server(
        tmp_path, model_control_mode="poll", repository_poll_secs=0.1, repository_settle_secs=0.2, exit_on_error=False
    )


def test_models_come_change_break_and_go(server: atoll.Server, tmp_path: Path) -> None:
    with server:
        assert factor_of(server) == 2  # settled before the start returned
        write_model(tmp_path, "other", 3)
        until(server, "other", 3)
        write_model(tmp_path, "m", 4, version=2)
        until(server, "m", 4)
        replace_file(tmp_path / "m" / "2" / "model.onnx", b"garbage")
        for _ in range(200):
            if server.failures():
                break
            threading.Event().wait(0.05)
        assert "m" in server.failures()
        assert factor_of(server) == 4  # a failed reload leaves the old one serving
        replace_file(tmp_path / "m" / "2" / "model.onnx", scale_model(5))
        until(server, "m", 5)
        assert not server.failures()
        shutil.rmtree(tmp_path / "other")
        until(server, "other", None)
        assert factor_of(server) == 5


def test_a_half_copied_model_is_never_served(server: atoll.Server, tmp_path: Path) -> None:
    content = scale_model(8, weight_bytes=200_000)
    with server:
        folder = tmp_path / "slow" / "1"
        folder.mkdir(parents=True)
        with (folder / "model.onnx").open("wb") as file:
            for start in range(0, len(content), 20_000):
                file.write(content[start : start + 20_000])
                file.flush()
                threading.Event().wait(0.1)
                assert "slow" not in server.failures()
                assert factor_of(server, "slow") is None
        until(server, "slow", 8)


def test_stopping_ends_the_thread(server: atoll.Server) -> None:
    with server:
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "poll"]


def test_a_look_on_demand_acts_at_once(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 2)
    with atoll.Server(
        tmp_path, model_control_mode="poll", repository_poll_secs=3_000_000_000, repository_settle_secs=0
    ) as server:
        write_model(tmp_path, "other", 3)
        assert factor_of(server, "other") is None
        lookers = [threading.Thread(target=server.poll_model_repository) for _ in range(4)]
        for one in lookers:
            one.start()
        for one in lookers:
            one.join()
        assert factor_of(server, "other") == 3
        shutil.rmtree(tmp_path / "m")
        server.poll_model_repository()
        assert factor_of(server) is None
    server.poll_model_repository()  # a server that has stopped loads nothing
    assert server.models() == []


@pytest.mark.parametrize("mode", ["none", "explicit"])
def test_nobody_looks_on_demand_where_nobody_polls(tmp_path: Path, mode: str) -> None:
    with (
        atoll.Server(tmp_path, model_control_mode=mode) as server,
        pytest.raises(atoll.UnavailableError, match="polling is disabled"),
    ):
        server.poll_model_repository()
