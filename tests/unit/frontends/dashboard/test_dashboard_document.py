"""The document: who sees what, how much of it fits, and that several viewers see the same past."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.devices.gpu_readings import GPU
from tests.unit.frontends.dashboard.recorded import answered, recorder, statistics

from atoll.config.metadata import ServerMetadata
from atoll.devices.cpu_meter import CpuReading
from atoll.devices.process_meter import ProcessReading
from atoll.frontends.access.keys import ApiKey, KeyRecord
from atoll.frontends.dashboard.document import MAX_ERRORS, Viewer, document
from atoll.frontends.dashboard.readings import MachineReading, Reading
from atoll.frontends.dashboard.rows import ordered, rows
from atoll.frontends.dashboard.sampler import FORGOTTEN_S, LEAST_S, WINDOW_S, Sample, Sampler
from atoll.models.index import IndexEntry
from atoll.observability.statistics.model import ModelStatistics
from atoll.observability.statistics.recent_errors import RecentError

SERVER = ServerMetadata("atoll", "1.0", ())
MACHINE = MachineReading(CpuReading(0.25, 100, 40), ProcessReading(1.0, 77, 0.0, 5), 1.5, (GPU,), None, 3, 9)


def sample(names: Sequence[str], errors: Sequence[RecentError] = ()) -> Sample:
    states = [IndexEntry(name, "1", "READY") for name in names]
    states.append(IndexEntry("broken", "2", "UNAVAILABLE", "its secret path"))
    found = ordered(rows(Reading(states, {}, [statistics(name) for name in names], {}, 1.0)))
    return Sample(found, MACHINE, errors, 1.0, 60.0, True)


def error(model: str) -> RecentError:
    return RecentError(1.0, model, "1", "id", "BACKEND", f"text of {model}")


def key(*models: str, scopes: tuple[str, ...] = ("dashboard",)) -> ApiKey:
    return ApiKey(KeyRecord("k", b"", models or ("*",), scopes))


def test_everything_is_there_for_who_needs_no_key() -> None:
    found = document(sample(["a"], [error("a")]), SERVER, Viewer(explicit=True))
    assert found["server"] == {"name": "atoll", "version": "1.0", "ready": True, "up_s": 60.0}
    assert found["totals"] == {
        "versions": 2,
        "ready": 1,
        "failed": 1,
        "rate": 0,
        "failing": 0,
        "pending": 0,
        "in_flight": 0,
    }
    assert [row["name"] for row in found["models"]] == ["broken", "a"]
    assert found["models"][0]["reason"] == "its secret path"
    machine = found["machine"]
    assert (machine["cpu"], machine["process_memory"], machine["process_cores"]) == (0.25, 77, 1.5)
    assert machine["gpus"][0]["utilization"] == 0.5
    assert found["errors"][0]["text"] == "text of a"
    assert found["control"] == {"explicit": True, "allowed": True, "header": ""}


def test_a_key_for_some_models_sees_nothing_of_the_others() -> None:
    everything = sample(["mine-1", "mine-2", "yours"], [error("mine-1"), error("yours"), error("gone")])
    found = document(everything, SERVER, Viewer(key("mine-*")))
    assert [row["name"] for row in found["models"]] == ["mine-1", "mine-2"]
    assert [one["model"] for one in found["errors"]] == ["mine-1"]
    assert (found["totals"]["versions"], found["totals"]["failed"]) == (2, 0)
    assert found["machine"] is None
    assert "yours" not in str(found)
    assert "secret path" not in str(found)


def test_a_key_for_all_models_sees_all_of_it() -> None:
    everything = sample(["a", "b"], [error("a")])
    assert document(everything, SERVER, Viewer(key())) == document(everything, SERVER)


def test_why_models_failed_takes_the_secret_of_the_repository() -> None:
    found = document(sample(["a"]), SERVER, Viewer(control_header="X-Admin"))
    assert "secret path" not in str(found)
    assert found["models"][0]["level"] == 0
    assert found["control"]["header"] == "X-Admin"


def test_an_answer_has_a_bound_and_says_what_it_leaves_out() -> None:
    errors = [error(f"m{one}") for one in range(200)]
    found = document(sample([f"m{one:03}" for one in range(50)], errors), SERVER, most=20)
    assert len(found["models"]) == 20
    assert found["models"][0]["name"] == "broken"
    assert found["left_out"] == 31
    assert found["totals"]["versions"] == 51
    assert len(found["errors"]) == MAX_ERRORS


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeModel:
    def __init__(self) -> None:
        self.recorder = recorder()
        self.asked = 0

    def statistics(self) -> ModelStatistics:
        self.asked += 1
        return self.recorder.snapshot()


class FakeServer:
    """What the sampler asks of a server."""

    response_cache = None

    class memory_pool:  # noqa: N801
        used_bytes = total_bytes = 0

    def __init__(self) -> None:
        self.model = FakeModel()

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {"models": [self.model], "failures": {}, "ready": True, "model_memory": {}}
        return lambda: answers.get(name, [])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def sampler(server: FakeServer, clock: Clock) -> Sampler:
    return Sampler(server, clock)  # type: ignore[arg-type]


def test_viewers_share_one_reading(server: FakeServer, sampler: Sampler, clock: Clock) -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(sampler.look())) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len({id(one) for one in found}) == 1
    assert server.model.asked == 1
    clock.now += LEAST_S
    assert sampler.look() is not found[0]


def test_however_often_it_is_asked_the_window_is_of_the_last_seconds(
    server: FakeServer, sampler: Sampler, clock: Clock
) -> None:
    assert sampler.look().window_s is None
    widths = []
    for _ in range(100):
        clock.now += 0.5
        answered(server.model.recorder, 0, 1)
        widths.append(sampler.look().window_s)
    assert widths[0] is None  # the same sample, still
    assert all(width is not None and width <= WINDOW_S for width in widths[1:])
    assert widths[-1] is not None
    assert widths[-1] >= WINDOW_S - 1
    last = sampler.look()
    assert last.rows[0]["lately"]["rate"] == pytest.approx(2, abs=0.2)
    assert len(sampler._past) <= WINDOW_S / LEAST_S + 2


def test_after_a_pause_nothing_of_before_counts(server: FakeServer, sampler: Sampler, clock: Clock) -> None:
    sampler.look()
    answered(server.model.recorder, 0, 1, times=100)
    clock.now += FORGOTTEN_S + 1
    assert sampler.look().window_s is None
    clock.now += 2
    assert sampler.look().rows[0]["lately"]["requests"] == 0


def test_a_model_that_rests_is_kept_once(server: FakeServer, sampler: Sampler, clock: Clock) -> None:
    answered(server.model.recorder, 0, 1)
    for _ in range(5):
        sampler.look()
        clock.now += 2
    kept = {id(one) for _, models in sampler._past for one in models.values()}
    assert len(kept) == 1
