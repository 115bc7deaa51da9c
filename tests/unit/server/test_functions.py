"""Functions served through the library: when they are there, what is said of them, and how one follows another."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.models.tiny import write_model

import atoll
from atoll.calls import ThreadReply
from atoll.models.function_tensors import TensorSpec

PATIENCE_S = 30
TENSORS: dict[str, Any] = {"inputs": {"IN": ("FP32", [2])}, "outputs": {"OUT": ("FP32", [2])}}
ONES = np.ones((1, 2), np.float32)


def times(factor: float) -> Any:
    def function(IN: Any) -> Any:  # noqa: N803
        return IN * np.float32(factor)

    return function


def ask(server: atoll.Server, name: str = "f") -> float:
    return float(server.infer(name, {"IN": ONES})["OUT"][0, 0])


def states(server: atoll.Server) -> list[tuple[str, str, str]]:
    return [(one.name, one.version, one.state) for one in server.repository_index()]


@pytest.fixture
def server() -> Iterator[atoll.Server]:
    with atoll.Server() as running:
        running.add_model("f", times(2), batching=True, **TENSORS)
        yield running


def test_a_function_is_a_model(server: atoll.Server) -> None:
    assert ask(server) == 2
    assert states(server) == [("f", "1", "READY")]
    assert server.ready()
    metadata = server.model_metadata("f")
    assert (metadata.versions, metadata.platform, metadata.inputs[0].shape) == (("1",), "function", (-1, 2))
    [statistics] = server.statistics("f")
    assert (statistics.inference_count, statistics.execution_count) == (1, 1)
    config = server.model("f").config
    assert (config.backend, config.max_batch_size, config.default_model_filename) == ("function", 32, "")


def test_one_can_be_added_before_the_start() -> None:
    server = atoll.Server()
    server.add_model("f", times(2), batching=4, **TENSORS)
    assert states(server) == [("f", "", "")]
    with server:
        assert ask(server) == 2
    with pytest.raises(atoll.UnavailableError):
        server.add_model("g", times(2), batching=4, **TENSORS)


@pytest.mark.parametrize("mode", ["none", "explicit", "poll"])
def test_in_every_mode_beside_models_of_files(tmp_path: Path, mode: str) -> None:
    write_model(tmp_path, "m", 3)
    server = atoll.Server(tmp_path, model_control_mode=mode, repository_settle_secs=0, repository_poll_secs=1)
    server.add_model("before", times(4), batching=True, **TENSORS)
    with server:
        server.add_model("after", times(5), batching=True, **TENSORS)
        assert (ask(server, "before"), ask(server, "after")) == (4, 5)
        server.remove_model("before")
        with pytest.raises(atoll.NotFoundError):
            ask(server, "before")
        assert ("m", "1", "READY") in states(server) or mode == "explicit"


def test_with_a_memory_budget_and_namespaces(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 3)
    server = atoll.Server(tmp_path, model_memory_budget="1GiB")
    server.add_model("before", times(4), batching=True, **TENSORS)
    with server:
        server.add_model("after", times(5), batching=True, **TENSORS)
        assert [ask(server, name) for name in ("before", "after", "m")] == [4, 5, 3]
    with atoll.Server(tmp_path, model_namespacing=True) as server:
        server.add_model("f", times(2), batching=True, **TENSORS)
        assert ask(server) == 2
        server.remove_model("f")
        assert [name for name, *_ in states(server)] == ["m"]


def test_requests_that_wait_together_are_one_call() -> None:
    sizes: list[int] = []
    entered, go_on = threading.Event(), threading.Event()

    def slow(IN: Any) -> Any:  # noqa: N803
        sizes.append(len(IN))
        entered.set()
        assert go_on.wait(PATIENCE_S)
        return IN

    with atoll.Server() as server, ThreadPoolExecutor(9) as threads:
        server.add_model("f", slow, batching={"max_batch_size": 8, "max_queue_delay_us": 0}, **TENSORS)
        first = threads.submit(ask, server)
        assert entered.wait(PATIENCE_S)
        rest = [threads.submit(ask, server) for _ in range(8)]
        while server.statistics("f")[0].pending_request_count < 8:
            threading.Event().wait(0.005)
        go_on.set()
        assert [one.result(PATIENCE_S) for one in (first, *rest)] == [1] * 9
    assert sizes == [1, 8]


def test_without_batching_shapes_are_what_clients_send() -> None:
    with atoll.Server() as server:
        server.add_model("f", lambda x: x * 2, inputs={"x": ("INT32", [])}, outputs={"y": ("INT32", [])})
        assert server.infer("f", {"x": [21]})["y"].tolist() == [42]
        assert server.model_metadata("f").inputs[0].shape == (1,)


def test_instances_call_it_at_once() -> None:
    meeting = threading.Barrier(3)

    def meet(IN: Any) -> Any:  # noqa: N803
        meeting.wait(PATIENCE_S)
        return IN

    with atoll.Server() as server, ThreadPoolExecutor(3) as threads:
        server.add_model("f", meet, instances=3, inputs={"IN": ("FP32", [1, 2])}, outputs={"OUT": ("FP32", [1, 2])})
        assert [one.result(PATIENCE_S) for one in [threads.submit(ask, server) for _ in range(3)]] == [1] * 3


def test_a_later_one_takes_the_place_of_an_earlier_one(server: atoll.Server) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(IN: Any) -> Any:  # noqa: N803
        entered.set()
        assert go_on.wait(PATIENCE_S)
        return IN * np.float32(3)

    server.add_model("f", slow, batching=True, **TENSORS)
    with ThreadPoolExecutor(1) as threads:
        taken = threads.submit(ask, server)
        assert entered.wait(PATIENCE_S)
        server.add_model("f", times(4), batching=True, **TENSORS)
        assert ask(server) == 4
        assert not taken.done()
        go_on.set()
        assert taken.result(PATIENCE_S) == 3
    assert states(server) == [("f", "1", "READY")]


def test_what_does_not_fit_leaves_the_earlier_one(server: atoll.Server) -> None:
    for wrong in (
        {"outputs": {"OUT": ("FP32", [0])}},
        {"batching": "yes"},
        {"instances": 0},
        {"outputs": {}},
        {"config": {"max_batch_size": 3}},
        {"config": {"nonsense": 3}},
        {"config": {"model_transaction_policy": {"decoupled": True}}},
        {"config": {"model_warmup": [{"name": "w", "batch_size": 1, "inputs": {"X": {}}}]}},
    ):
        with pytest.raises(atoll.InvalidArgumentError):
            server.add_model("f", times(9), **{**TENSORS, **wrong})
    assert ask(server) == 2
    assert server.ready()


@pytest.mark.parametrize("name", ["", "a/b", ".a", "x" * 300, None])
def test_names_that_no_model_can_have(server: atoll.Server, name: Any) -> None:
    with pytest.raises(atoll.InvalidArgumentError, match="add_model: a model's name must"):
        server.add_model(name, times(2), **TENSORS)


def test_errors_say_which_call_they_are_of(server: atoll.Server) -> None:
    with pytest.raises(atoll.InvalidArgumentError, match=r"^add_model\('g'\): inputs\['IN'\]: .*did you mean 'FP32'"):
        server.add_model("g", times(2), inputs={"IN": ("FP23", [1])}, outputs={"OUT": ("FP32", [1])})


def test_a_function_stays_in_the_server(server: atoll.Server) -> None:
    config = {"parameters": {"isolation": {"string_value": "process"}}}
    with pytest.raises(atoll.ConfigError, match=r"parameters.isolation: function '.*' runs in the server"):
        server.add_model("f", times(9), batching=True, config=config, **TENSORS)
    assert ask(server) == 2


def test_one_that_cannot_be_loaded_leaves_nothing(server: atoll.Server) -> None:
    def fail(IN: Any) -> Any:  # noqa: N803
        raise ValueError("not today")

    sample = {"IN": {"data_type": "TYPE_FP32", "dims": [2], "zero_data": True}}
    config = {"model_warmup": [{"name": "w", "batch_size": 1, "inputs": sample}]}
    with pytest.raises(atoll.ConfigError, match="not today"):
        server.add_model("g", fail, batching=True, config=config, **TENSORS)
    with pytest.raises(atoll.ConfigError, match="not today"):
        server.add_model("f", fail, batching=True, config=config, **TENSORS)
    assert states(server) == [("f", "1", "READY")]
    assert ask(server) == 2
    server.remove_model("f")
    assert server.ready()


def test_a_name_of_the_repositories_is_taken(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 3)
    with atoll.Server(tmp_path) as server:
        with pytest.raises(atoll.AlreadyExistsError, match=f"model 'm' is in the repository {tmp_path}"):
            server.add_model("m", times(2), batching=True, **TENSORS)
        assert ask(server, "m") == 3
        with pytest.raises(atoll.NotFoundError, match="model 'm' is no function that was added"):
            server.remove_model("m")


def test_what_is_removed_is_forgotten(server: atoll.Server) -> None:
    server.remove_model("f")
    assert states(server) == []
    with pytest.raises(atoll.NotFoundError, match="Request for unknown model: 'f' is not found"):
        ask(server)
    with pytest.raises(atoll.NotFoundError):
        server.remove_model("f")
    server.add_model("f", times(7), batching=True, **TENSORS)
    assert ask(server) == 7


def test_clients_unload_load_and_change_it() -> None:
    with atoll.Server(model_control_mode="explicit") as server:
        server.add_model("f", times(2), batching=True, **TENSORS)
        server.unload_model("f")
        assert states(server) == [("f", "1", "UNAVAILABLE")]
        server.load_model("f")
        assert ask(server) == 2
        server.load_model("f", config='{"max_batch_size": 5, "instance_group": [{"count": 2, "kind": "KIND_CPU"}]}')
        assert (ask(server), server.model("f").config.max_batch_size) == (2, 5)
        assert [one.name for one in server.model("f").config.input] == ["IN"]
        with pytest.raises(atoll.AtollError, match="unexpected inference output"):
            server.load_model(
                "f", config='{"max_batch_size": 5, "output": [{"name": "NO", "data_type": 11, "dims": 1}]}'
            )


def test_more_of_the_configuration(server: atoll.Server) -> None:
    server.add_model("f", times(2), batching=True, config={"metric_tags": {"team": "a"}}, **TENSORS)
    assert server.statistics("f")[0].labels == {"_team": "a"}


def test_optional_inputs() -> None:
    inputs = {"x": ("FP32", [1]), "scale": TensorSpec("FP32", [1], optional=True)}
    with atoll.Server() as server:
        server.add_model("f", lambda x, scale=3: x * np.float32(scale), inputs=inputs, outputs={"y": ("FP32", [1])})
        assert server.infer("f", {"x": [2]})["y"].tolist() == [6]
        assert server.infer("f", {"x": [2], "scale": [5]})["y"].tolist() == [10]


def test_a_function_may_take_nothing() -> None:
    with atoll.Server() as server:
        server.add_model("f", lambda: 7, inputs={}, outputs={"y": ("INT64", [])})
        assert server.infer("f", {})["y"].tolist() == [7]
        for inputs in ({}, {"x": TensorSpec("FP32", [1], optional=True)}):
            with pytest.raises(atoll.InvalidArgumentError, match="an input that is not optional"):
                server.add_model("g", lambda x=0: [7], inputs=inputs, outputs={"y": ("INT64", [])}, batching=True)


def test_wrong_values_hit_nobody_elses_request() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def picky(IN: Any) -> Any:  # noqa: N803
        entered.set()
        assert go_on.wait(PATIENCE_S)
        if (IN < 0).any():
            raise atoll.InvalidArgumentError("negative")
        return IN

    with atoll.Server() as server, ThreadPoolExecutor(4) as threads:
        server.add_model("f", picky, batching=True, **TENSORS)
        first = threads.submit(ask, server)
        assert entered.wait(PATIENCE_S)
        good = threads.submit(ask, server)
        bad = threads.submit(server.infer, "f", {"IN": -ONES})
        while server.statistics("f")[0].pending_request_count < 2:
            threading.Event().wait(0.005)
        go_on.set()
        assert (first.result(PATIENCE_S), good.result(PATIENCE_S)) == (1, 1)
        with pytest.raises(atoll.InvalidArgumentError, match="negative"):
            bad.result(PATIENCE_S)


def test_many_threads_may_add_the_same_name(server: atoll.Server) -> None:
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(server.add_model, "f", times(n), batching=True, **TENSORS) for n in range(1, 13)]:
            done.result(PATIENCE_S)
    assert ask(server) in range(1, 13)
    assert states(server) == [("f", "1", "READY")]


def test_a_caller_who_is_interrupted_takes_back_his_request(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(IN: Any) -> Any:  # noqa: N803
        entered.set()
        assert go_on.wait(PATIENCE_S)
        return IN

    def interrupted(self: ThreadReply, timeout: float | None) -> bool:
        raise KeyboardInterrupt

    with atoll.Server() as server, ThreadPoolExecutor(1) as threads:
        server.add_model("f", slow, batching=False, inputs=TENSORS["inputs"], outputs=TENSORS["outputs"])
        first = threads.submit(server.infer, "f", {"IN": ONES[0]})
        assert entered.wait(PATIENCE_S)
        monkeypatch.setattr(ThreadReply, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.infer("f", {"IN": ONES[0]})
        assert server.statistics("f")[0].pending_request_count == 0
        assert server.statistics("f")[0].fail.count == 1
        go_on.set()
        assert first.result(PATIENCE_S)["OUT"].tolist() == [1, 1]
