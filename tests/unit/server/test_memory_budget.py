"""Models that come into memory when they are asked for, and leave it for others."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.unit.models.tiny import write_model

import atoll
from atoll.errors import ModelAsleepError
from atoll.models.memory import resident_bytes

pytestmark = pytest.mark.slow  # it loads and unloads until memory stays the same

ONES = np.ones((1, 2), np.float32)
MIB = 1 << 20
COUNT = 5


def factor_of(server: atoll.Server, name: str) -> float:
    return float(server.infer(name, {"IN": ONES})["OUT"][0, 0])


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repository")
    for number in range(COUNT):
        write_model(path, f"m{number}", number + 1, weight_bytes=8 * MIB)
    return path


@pytest.fixture
def server(repository: Path) -> Iterator[atoll.Server]:
    with atoll.Server(repository, model_memory_budget="34MiB") as running:
        yield running


def loaded(server: atoll.Server) -> set[str]:
    return {model.name for model in server.models()}


def test_nothing_is_loaded_at_first_and_everything_answers(server: atoll.Server) -> None:
    assert server.ready()
    assert not server.models()
    assert all(server.model_ready(f"m{number}") for number in range(COUNT))
    for _ in range(2):
        for number in range(COUNT):
            assert factor_of(server, f"m{number}") == number + 1
            assert sum(model.memory_bytes for model in server.models()) <= 34 * MIB
    assert 0 < len(loaded(server)) < COUNT


def test_the_least_recently_used_one_leaves(server: atoll.Server) -> None:
    for number in range(COUNT):
        factor_of(server, f"m{number}")
        factor_of(server, "m0")
        before = loaded(server)
    assert "m0" in before  # used between all others
    assert f"m{COUNT - 1}" in before
    assert len(before) < COUNT


def test_memory_stays_bounded(server: atoll.Server) -> None:
    for number in range(COUNT):
        factor_of(server, f"m{number}")
    before = resident_bytes()
    for _ in range(4):
        for number in range(COUNT):
            factor_of(server, f"m{number}")
    assert resident_bytes() - before < 64 * MIB


def test_what_asks_without_inferring_is_told_to_wake_it(server: atoll.Server) -> None:
    with pytest.raises(ModelAsleepError):
        server.model_metadata("m1")
    assert server.statistics("m1") == []
    answers: list[object] = []
    answered = threading.Event()

    def then(error: object) -> None:
        answers.append(error)
        answered.set()

    server.wake("m1", then)
    assert answered.wait(60)
    assert answers == [None]
    assert server.model_metadata("m1").versions == ("1",)
    assert [one.reason for one in server.repository_index() if one.name == "m2"] == [
        "not in memory; loaded when a request asks for it"
    ]


def test_many_at_once_wait_for_one_load(server: atoll.Server) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        try:
            for step in range(6):
                name = (number + step) % COUNT
                if factor_of(server, f"m{name}") != name + 1:
                    wrong.append(name)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong


def test_a_model_stays_for_its_sequences(repository: Path, tmp_path: Path) -> None:
    config = "max_batch_size: 4 sequence_batching { max_sequence_idle_microseconds: 600000000 oldest { } }"
    write_model(tmp_path, "turns", 7, config=config, weight_bytes=8 * MIB)

    def turn(**flags: bool) -> float:
        answer = server.infer("turns", {"IN": ONES}, parameters={"sequence_id": 1, **flags}, timeout=60)
        return float(answer["OUT"][0, 0])

    with atoll.Server([repository, tmp_path], model_memory_budget="34MiB") as server:
        assert turn(sequence_start=True) == 7
        for number in range(COUNT):
            factor_of(server, f"m{number}")
            assert "turns" in loaded(server)
        assert turn() == 7  # as the sequence is known, without a START
        assert turn(sequence_end=True) == 7
        for number in range(COUNT):
            factor_of(server, f"m{number}")
        assert "turns" not in loaded(server)


async def test_coroutines_wait_too(server: atoll.Server) -> None:
    answers = await asyncio.gather(*(server.async_infer(f"m{number}", {"IN": ONES}) for number in range(COUNT)))
    assert [float(answer["OUT"][0, 0]) for answer in answers] == [1, 2, 3, 4, 5]


def test_a_model_that_is_larger_than_the_budget(repository: Path) -> None:
    with atoll.Server(repository, model_memory_budget="1MiB") as server:
        with pytest.raises(atoll.UnavailableError, match="--model-memory-budget"):
            factor_of(server, "m0")
        assert not server.models()
        assert server.model_ready("m0")


def test_a_model_that_does_not_load_says_why(tmp_path: Path) -> None:
    write_model(tmp_path, "good", 2)
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "model.onnx").write_bytes(b"garbage")
    with atoll.Server(tmp_path, model_memory_budget="50%") as server:
        for _ in range(2):
            with pytest.raises(
                atoll.UnavailableError, match=r"'bad' cannot be served, it failed to load: .*not a whole"
            ):
                factor_of(server, "bad")
        assert factor_of(server, "good") == 2


def test_explicit_loads_count_too(repository: Path) -> None:
    with atoll.Server(repository, model_memory_budget="34MiB", model_control_mode="explicit") as server:
        with pytest.raises(atoll.NotFoundError):
            factor_of(server, "m0")
        for number in range(COUNT):
            server.load_model(f"m{number}")
            assert factor_of(server, f"m{number}") == number + 1
        assert 0 < len(loaded(server)) < COUNT
        assert factor_of(server, "m0") == 1
        server.unload_model("m0")
        with pytest.raises(atoll.NotFoundError):
            factor_of(server, "m0")


def test_a_busy_model_is_never_unloaded(server: atoll.Server) -> None:
    factor_of(server, "m0")
    model = server.model("m0")
    pool = model._pool
    with pool._lock:
        pool._in_flight.count += 1  # a request that does not end
    try:
        for number in range(1, COUNT):
            factor_of(server, f"m{number}")
        assert server.model("m0") is model
    finally:
        with pool._lock:
            pool._in_flight.count -= 1
