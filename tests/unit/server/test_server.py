"""The library: no frontend, no event loop of its own, from plain Python, threads and asyncio."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atoll
from atoll.execution.driving import PROOF

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
ONE_TO_SIXTEEN = np.arange(1, 17, dtype=np.int32).reshape(1, 16)
BOTH = {"INPUT0": ONE_TO_SIXTEEN, "INPUT1": ONE_TO_SIXTEEN}


@pytest.fixture(scope="module")
def server() -> Iterator[atoll.Server]:
    with atoll.Server(EXAMPLES) as running:
        yield running


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES / "simple", tmp_path / "simple")
    return tmp_path


def test_a_thread_gets_an_answer(server: atoll.Server) -> None:
    response = server.infer("simple", BOTH, request_id="7")
    assert response["OUTPUT0"].tolist() == (ONE_TO_SIXTEEN * 2).tolist()
    assert (response.id, response.model_name, response.model_version) == ("7", "simple", "1")


def test_lists_take_the_models_type(server: atoll.Server) -> None:
    numbers = ONE_TO_SIXTEEN.tolist()
    assert server.infer("simple", {"INPUT0": numbers, "INPUT1": numbers})["OUTPUT1"].tolist() == [[0] * 16]


def test_text_goes_in_and_out(server: atoll.Server) -> None:
    assert server.infer("greet", {"NAME": [["Ada"]]})["GREETING"].tolist() == [[b"Hello, Ada!"]]


def test_only_the_wanted_outputs_come(server: atoll.Server) -> None:
    response = server.infer("simple", BOTH, outputs=["OUTPUT1"])
    assert [tensor.name for tensor in response.outputs] == ["OUTPUT1"]


def test_many_threads(server: atoll.Server) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        for step in range(100):
            value = np.full((1, 16), number * 100 + step, np.int32)
            answer = server.infer("simple", {"INPUT0": value, "INPUT1": value})["OUTPUT0"]
            if not (answer == value * 2).all():
                wrong.append(answer)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_several_event_loops_at_once(server: atoll.Server) -> None:
    async def ask(number: int) -> int:
        value = np.full((1, 16), number, np.int32)
        answers = await asyncio.gather(
            *(server.async_infer("simple", {"INPUT0": value, "INPUT1": value}) for _ in range(PROOF * 2))
        )
        return sum(int(answer["OUTPUT0"][0, 0]) for answer in answers)

    totals: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda number=number: totals.update({number: asyncio.run(ask(number))}))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert totals == {number: number * 2 * PROOF * 2 for number in range(4)}


async def test_an_error_reaches_the_coroutine(server: atoll.Server) -> None:
    with pytest.raises(atoll.InvalidArgumentError, match="expected 2 inputs but got 1"):
        await server.async_infer("simple", {"INPUT0": ONE_TO_SIXTEEN})


async def test_a_cancelled_coroutine_takes_nobody_along(server: atoll.Server) -> None:
    tasks = [asyncio.ensure_future(server.async_infer("simple", BOTH)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, atoll.InferenceResponse) for answer in answers[1::2])


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("nope", "", "Request for unknown model: 'nope' is not found"),
        ("simple", "2", "Request for unknown model: 'simple' version 2 is not found"),
    ],
)
def test_unknown_models(server: atoll.Server, name: str, version: str, text: str) -> None:
    with pytest.raises(atoll.NotFoundError, match=text):
        server.infer(name, BOTH, model_version=version)


def test_what_it_says_of_itself(server: atoll.Server) -> None:
    assert server.live()
    assert server.ready()
    assert server.model_ready("simple")
    metadata = server.model_metadata("simple")
    assert (metadata.name, metadata.versions, metadata.platform) == ("simple", ("1",), "onnxruntime_onnx")
    assert [(one.name, one.shape) for one in metadata.inputs] == [("INPUT0", (-1, 16)), ("INPUT1", (-1, 16))]
    assert [model.name for model in server.models()] == ["digits_cnn", "digits_mlp", "greet", "simple"]
    before = server.statistics("simple")[0].inference_count
    server.infer("simple", BOTH)
    assert server.statistics("simple")[0].inference_count == before + 1
    with pytest.raises(atoll.InvalidArgumentError, match="requested model 'nope' is not available"):
        server.statistics("nope")


def test_a_bare_file_is_a_model() -> None:
    with atoll.Server(EXAMPLES / "digits_mlp" / "1" / "model.onnx") as server:
        model = server.model("model")
        assert model.config.max_batch_size == 4
        assert model.config.dynamic_batching is not None
        assert server.infer("model", {"PIXELS": np.zeros((2, 64), np.float32)})["PROBABILITIES"].shape == (2, 10)


def test_versions_follow_the_policy(repository: Path) -> None:
    shutil.copytree(repository / "simple" / "1", repository / "simple" / "3")
    (repository / "simple" / "old").mkdir()
    with atoll.Server(repository) as server:
        assert [model.version for model in server.models()] == ["3"]
    with (repository / "simple" / "config.pbtxt").open("a") as config:
        config.write("\nversion_policy { all {} }\n")
    with atoll.Server(repository) as server:
        assert server.model_metadata("simple").versions == ("1", "3")
        assert server.infer("simple", BOTH, model_version=1).model_version == "1"
        assert server.infer("simple", BOTH).model_version == "3"


def test_a_broken_model_stops_the_start_and_leaves_nothing_running(repository: Path) -> None:
    broken = repository / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"not a model")
    threads = threading.active_count()
    with pytest.raises(atoll.ConfigError, match=r"(?s)failed to load all models.*broken.*model\.onnx"):
        atoll.Server(repository).start()
    assert threading.active_count() == threads


def test_or_the_others_are_served(repository: Path) -> None:
    (repository / "broken").mkdir()
    with atoll.Server(repository, exit_on_error=False) as server:
        assert server.infer("simple", BOTH)
        assert not server.ready()
        assert "at least one version must be available" in str(server.failures()["broken"])
        with pytest.raises(atoll.NotFoundError, match="'broken' has no available versions"):
            server.model("broken")
    with atoll.Server(repository, exit_on_error=False, strict_readiness=False) as server:
        assert server.ready()


def test_a_config_error_names_file_line_and_key(repository: Path) -> None:
    config = repository / "simple" / "config.pbtxt"
    config.write_text('name: "simple"\nbackend: "onnxruntime"\nmax_batch_sise: 8\n')
    with pytest.raises(atoll.ConfigError) as raised:
        atoll.Server(repository).start()
    for part in (f"{config}:3:1", "max_batch_sise", "max_batch_size"):
        assert part in str(raised.value)


def test_what_is_not_supported_is_refused_and_not_passed_over(repository: Path) -> None:
    with (repository / "simple" / "config.pbtxt").open("a") as config:
        config.write("\nmodel_transaction_policy { decoupled: true }\n")
    with pytest.raises(atoll.ConfigError, match=r"model_transaction_policy\.decoupled: not supported"):
        atoll.Server(repository).start()


def test_a_missing_repository_is_named() -> None:
    with pytest.raises(atoll.NotFoundError, match="failed to stat file /nonexistent"):
        atoll.Server("/nonexistent").start()


def test_a_stopped_server_refuses_and_frees_its_threads(repository: Path) -> None:
    threads = threading.active_count()
    server = atoll.Server(repository).start()
    assert threading.active_count() > threads
    server.announce_stop()
    assert not server.ready()
    assert server.infer("simple", BOTH), "it serves on until it stops"
    server.stop()
    server.stop()
    assert not server.live()
    assert threading.active_count() == threads
    with pytest.raises(atoll.AtollError):
        server.infer("simple", BOTH)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model_control_mode": "x"}, "model_control_mode is 'x' but must be one of none, poll, explicit"),
        ({"exit_on_error": "no"}, "exit_on_error is 'no' but must be True or False"),
        ({"load_model": "simple"}, r"load_model is 'simple' but must be a list of texts: \['simple'\]"),
    ],
)
def test_a_value_that_would_be_taken_for_another_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(atoll.InvalidArgumentError, match=text):
        atoll.Server(**options)
