"""Following repositories that come and go, clash, or are shared with a memory budget. The looks are made by hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.unit.models.tiny import replace_file, scale_model, write_model

import atoll
from atoll.models.polling import NS_PER_SECOND

ONES = np.ones((1, 2), np.float32)


def factor_of(server: atoll.Server, name: str) -> float:
    return float(server.infer(name, {"IN": ONES})["OUT"][0, 0])


def polling(repositories: list[Path], **options: object) -> atoll.Server:
    return atoll.Server(
        repositories,
        model_control_mode="poll",
        repository_poll_secs=3600,
        repository_settle_secs=0,
        exit_on_error=False,
        **options,
    )


class Looks:
    def __init__(self, server: atoll.Server) -> None:
        self.server = server
        self.now_ns = 10**15

    def __call__(self) -> None:
        assert self.server._fleet._poller is not None
        self.now_ns += 3600 * NS_PER_SECOND
        self.server._fleet._poller.look(self.now_ns)


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    write_model(tmp_path / "a", "m", 2)
    write_model(tmp_path / "b", "n", 3)
    return [tmp_path / "a", tmp_path / "b"]


def test_a_model_goes_while_another_repository_is_away(two: list[Path]) -> None:
    with polling(two) as server:
        look = Looks(server)
        two[1].rename(two[1].with_name("away"))
        shutil.rmtree(two[0] / "m")
        look()
        assert factor_of(server, "n") == 3
        with pytest.raises(atoll.NotFoundError):
            factor_of(server, "m")
        two[1].with_name("away").rename(two[1])
        look()
        assert factor_of(server, "n") == 3


def test_a_clash_that_is_resolved_is_forgotten(two: list[Path]) -> None:
    write_model(two[1], "m", 5)
    with polling(two) as server:
        look = Looks(server)
        assert not server.ready()
        shutil.rmtree(two[1] / "m")
        look()
        assert factor_of(server, "m") == 2
        assert server.ready()
        assert not server.failures()


def test_what_comes_and_goes_leaves_nothing(two: list[Path]) -> None:
    with polling(two, model_memory_budget="50%") as server:
        look = Looks(server)
        (two[0] / "passing").mkdir()
        look()
        (two[0] / "passing").rmdir()
        look()
        assert [one.name for one in server.repository_index()] == ["m", "n"]


def test_a_served_model_under_a_budget_follows(two: list[Path]) -> None:
    with polling(two, model_memory_budget="50%") as server:
        look = Looks(server)
        assert factor_of(server, "m") == 2
        replace_file(two[0] / "m" / "1" / "model.onnx", scale_model(8))
        look()
        assert [model.name for model in server.models()] == ["m"]
        assert factor_of(server, "m") == 8
        shutil.rmtree(two[0] / "m")
        look()
        with pytest.raises(atoll.NotFoundError):
            factor_of(server, "m")
