"""Following repositories: what has settled is loaded, what fails is tried again, what is out of reach stays."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
from tests.unit.models.no_folders import NoFolders

from atoll.errors import AtollError, InternalError, UnavailableError
from atoll.models.catalog import Catalog, ModelKey
from atoll.models.polling import LONGEST_RETRY_NS, Poller
from atoll.repositories.repository import Repository

SECOND = 1_000_000_000


class Store(NoFolders):
    """A repository in a dict: model -> files."""

    location = "store"

    def __init__(self) -> None:
        self.models: dict[str, dict[str, str]] = {}
        self.down = False

    def names(self) -> list[str]:
        if self.down:
            raise UnavailableError("the store is away")
        return sorted(self.models)

    def files(self, name: str) -> dict[str, str]:
        return dict(self.models[name])


class Follower:
    """What a poller asked for, and the time that it goes by."""

    def __init__(self) -> None:
        self.store = Store()
        self.events: list[str] = []
        self.failing: set[str] = set()
        self.now = 0
        catalog = Catalog([self.store], namespacing=False)
        self.poller = Poller(catalog, self._load, self._unload, interval_s=15, settle_s=2)

    def _load(self, due: Mapping[ModelKey, Repository]) -> dict[ModelKey, AtollError]:
        self.events += [f"load {key}" for key in due]
        return {key: InternalError("told to fail") for key in due if key.name in self.failing}

    def _unload(self, key: ModelKey) -> None:
        self.events.append(f"unload {key}")

    def after(self, seconds: float) -> list[str]:
        """What happened at a look so much later."""
        self.now += int(seconds * SECOND)
        self.events.clear()
        self.poller.look(self.now)
        return list(self.events)


@pytest.fixture
def follower() -> Follower:
    return Follower()


def test_a_model_is_loaded_once_it_has_settled(follower: Follower) -> None:
    follower.store.models["m"] = {"1/model.onnx": "10"}
    assert follower.after(0) == []
    follower.store.models["m"] = {"1/model.onnx": "20"}  # the copy goes on
    assert follower.after(2) == []
    assert follower.after(1) == []
    assert follower.after(1) == ["load m"]
    assert follower.after(15) == []


def test_changes_and_removals_are_followed(follower: Follower) -> None:
    follower.store.models = {"a": {"1/x": "1"}, "b": {"1/x": "1"}}
    follower.after(0)
    assert follower.after(2) == ["load a", "load b"]
    follower.store.models["a"] = {"1/x": "1", "2/x": "1"}
    del follower.store.models["b"]
    assert follower.after(15) == []
    assert follower.after(2) == ["load a", "unload b"]
    assert follower.after(15) == []


def test_a_model_that_comes_back_before_it_was_missed(follower: Follower) -> None:
    follower.store.models["m"] = {"1/x": "1"}
    follower.after(0)
    follower.after(2)
    del follower.store.models["m"]
    assert follower.after(15) == []
    follower.store.models["m"] = {"1/x": "1"}
    assert follower.after(1) == []
    assert follower.after(15) == []


def test_a_failure_is_tried_again_at_growing_intervals_or_when_files_change(follower: Follower) -> None:
    follower.failing = {"m"}
    follower.store.models["m"] = {"1/x": "1"}
    follower.after(0)
    assert follower.after(2) == ["load m"]
    tries = [second for second in range(1, 300) if follower.after(1)]
    assert tries == [15, 45, 105, 225]
    follower.store.models["m"] = {"1/x": "2"}
    assert follower.after(1) == []
    follower.failing.clear()
    assert follower.after(2) == ["load m"]
    assert [second for second in range(700) if follower.after(1)] == []


def test_retries_never_become_rarer_than_the_longest_interval(follower: Follower) -> None:
    follower.failing = {"m"}
    follower.store.models["m"] = {"1/x": "1"}
    follower.after(0)
    follower.after(2)
    at = [step for step in range(600) if follower.after(10)]
    assert max(later - earlier for earlier, later in pairwise(at)) * 10 * SECOND <= LONGEST_RETRY_NS


def test_a_repository_out_of_reach_loses_no_model(follower: Follower, caplog: pytest.LogCaptureFixture) -> None:
    follower.store.models["m"] = {"1/x": "1"}
    follower.after(0)
    follower.after(2)
    follower.store.down = True
    for _ in range(5):
        assert follower.after(15) == []
    assert len([one for one in caplog.records if "the store is away" in one.getMessage()]) == 1
    follower.store.down = False
    follower.store.models["m"] = {"1/x": "2"}
    assert follower.after(15) == []
    assert follower.after(2) == ["load m"]
