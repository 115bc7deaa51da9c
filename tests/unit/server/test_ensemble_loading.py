"""Ensembles through the library: when they are there, what follows a change of their steps' models, and who waits."""

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.models.tiny import replace_file, scale_model, write_model

import atoll
from atoll.models.ensembles.steps import MOST_NESTED

PATIENCE_S = 30
ONES = np.ones((1, 2), np.float32)
TENSORS: dict[str, Any] = {"inputs": {"IN": ("FP32", [2])}, "outputs": {"OUT": ("FP32", [2])}, "batching": True}
MIB = 1 << 20


def write_ensemble(
    repository: Path, name: str, models: Sequence[str], *, size: int = 4, versions: Sequence[int] = (1,), more: str = ""
) -> None:
    """One model after the other, `NAME` or `NAME:VERSION`."""
    tensors = ["IN", *(f"t{number}" for number in range(1, len(models))), "OUT"]
    steps = ""
    for place, model in enumerate(models):
        model_name, _, version = model.partition(":")
        steps += (
            f'step {{ model_name: "{model_name}" model_version: {version or -1} '
            f'input_map {{ key: "IN" value: "{tensors[place]}" }} '
            f'output_map {{ key: "OUT" value: "{tensors[place + 1]}" }} }}\n'
        )
    for version_number in versions:
        (repository / name / str(version_number)).mkdir(parents=True, exist_ok=True)
    (repository / name / "config.pbtxt").write_text(
        f'platform: "ensemble"\nmax_batch_size: {size}\n'
        'input { name: "IN" data_type: TYPE_FP32 dims: [2] }\noutput { name: "OUT" data_type: TYPE_FP32 dims: [2] }\n'
        f"ensemble_scheduling {{\n{steps}}}\n{more}"
    )


def ask(server: atoll.Server, name: str, version: str = "") -> float:
    return float(server.infer(name, {"IN": ONES}, model_version=version)["OUT"][0, 0])


def states(server: atoll.Server) -> dict[str, str]:
    return {one.name: one.state for one in server.repository_index()}


def reason(server: atoll.Server, name: str) -> str:
    return next(one.reason for one in server.repository_index() if one.name == name)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`chain` is 2 * 3, `around` that and 3 again: it comes first, and is in the order of names before its steps."""
    write_model(tmp_path, "two", 2)
    write_model(tmp_path, "three", 3)
    write_ensemble(tmp_path, "chain", ["two", "three"])
    write_ensemble(tmp_path, "around", ["chain", "three"])
    return tmp_path


@pytest.fixture
def server(repository: Path) -> Iterator[atoll.Server]:
    with atoll.Server(repository, model_control_mode="explicit") as running:
        yield running


# ---- start


def test_ensembles_are_loaded_after_their_steps(repository: Path) -> None:
    with atoll.Server(repository) as server:
        assert ask(server, "chain") == 6
        assert ask(server, "around") == 18
        assert server.ready()
        assert server.model_metadata("chain").platform == "ensemble"


def test_of_several_threads_each_loads_something_else(repository: Path) -> None:
    for number in range(12):
        write_ensemble(repository, f"e{number:02}", ["two", "chain", "three"][: number % 3 + 1])
    with atoll.Server(repository, model_load_thread_count=8) as server:
        assert [ask(server, f"e{number:02}") for number in range(12)] == [2, 12, 36] * 4


def test_a_step_that_fails_is_the_reason_of_all_that_need_it(repository: Path) -> None:
    replace_file(repository / "two" / "1" / "model.onnx", b"garbage")
    with atoll.Server(repository, exit_on_error=False) as server:
        failures = {name: str(error) for name, error in server.failures().items()}
        assert failures.keys() == {"two", "chain", "around"}
        assert (
            "ensemble 'chain' depends on 'two' which has no loaded version. Model 'two' loading failed"
            in (failures["chain"])
        )
        assert "ensemble 'around' depends on 'chain' which is not valid." in failures["around"]
        assert failures["two"].partition("model.onnx")[0] in failures["around"]
        assert not server.ready()
        assert ask(server, "three") == 3


def test_only_what_an_ensemble_named_at_start_needs_is_loaded(repository: Path) -> None:
    write_model(repository, "other", 5)
    with atoll.Server(repository, model_control_mode="explicit", load_model=["chain"]) as server:
        assert states(server) == {"around": "", "chain": "READY", "other": "", "three": "READY", "two": "READY"}


def test_functions_may_be_steps(repository: Path) -> None:
    write_ensemble(repository, "of_function", ["f", "two"])
    server = atoll.Server(repository)
    server.add_model("f", lambda IN: IN + np.float32(10), **TENSORS)  # noqa: N803
    with server:
        assert ask(server, "of_function") == 22


def test_one_that_was_never_served_is_unknown_and_its_reason_is_in_the_index(
    server: atoll.Server, repository: Path
) -> None:
    write_ensemble(repository, "large", ["two"], size=100)
    with pytest.raises(atoll.ConfigError, match="ensemble large allows maximum batch size 100"):
        server.load_model("large")
    for version in ("", "1"):
        with pytest.raises(atoll.NotFoundError, match="Request for unknown model: 'large' is not found"):
            ask(server, "large", version)
    assert "ensemble large allows maximum batch size 100" in reason(server, "large")
    assert ask(server, "two") == 2  # it was loaded all the same


# ---- when a step's model changes


def test_a_new_version_of_a_step_is_used_at_once(server: atoll.Server, repository: Path) -> None:
    server.load_model("around")
    write_model(repository, "two", 5, version=2)
    server.load_model("two")
    assert (ask(server, "chain"), ask(server, "around")) == (15, 45)


def test_loading_an_ensemble_looks_at_its_steps(server: atoll.Server, repository: Path) -> None:
    server.load_model("around")
    replace_file(repository / "two" / "1" / "model.onnx", scale_model(7))
    server.load_model("around")
    assert ask(server, "around") == 63


def test_what_was_counted_stays_where_the_step_is_as_it_was(server: atoll.Server, repository: Path) -> None:
    server.load_model("chain")
    ask(server, "chain")
    replace_file(repository / "two" / "1" / "model.onnx", scale_model(7))
    server.load_model("two")
    assert server.statistics("chain")[0].inference_count == 1


def test_an_ensemble_that_does_not_fit_any_more_is_out_of_service_until_it_does(
    server: atoll.Server, repository: Path
) -> None:
    server.load_model("around")
    write_model(repository, "two", 5, config="max_batch_size: 2")
    server.load_model("two")
    assert ask(server, "two") == 5
    with pytest.raises(atoll.NotFoundError, match="Request for unknown model: 'around' has no available versions"):
        ask(server, "around")
    text = "ensemble chain allows maximum batch size 4, but it contains model two which only allows maximum batch size"
    assert text in reason(server, "chain")
    assert "which is not valid" in reason(server, "around")
    with pytest.raises(atoll.ConfigError, match=r"load failed for model 'chain': .*maximum batch size to be 2"):
        server.load_model("chain")
    write_model(repository, "two", 5, config="max_batch_size: 8")
    server.load_model("two")
    assert (ask(server, "chain"), ask(server, "around")) == (15, 45)
    assert not server.failures()


def test_an_override_of_a_step_counts_and_one_of_an_ensemble_stays(server: atoll.Server) -> None:
    server.load_model("chain", config=ensemble_of("two"))
    assert ask(server, "chain") == 2
    server.load_model("two", config='{"backend":"onnxruntime","max_batch_size":2}')
    assert states(server)["chain"] == "UNAVAILABLE"
    server.load_model("two")
    assert ask(server, "chain") == 2  # as it was loaded last
    server.load_model("chain")
    assert ask(server, "chain") == 6


def test_an_ensemble_may_come_with_a_request(server: atoll.Server) -> None:
    server.load_model("given", config=ensemble_of("three"), files={"1/nothing": b""})
    assert ask(server, "given") == 3
    server.unload_model("three")
    assert "given" not in [model.name for model in server.models()]


def ensemble_of(model: str) -> str:
    return (
        '{"platform":"ensemble","max_batch_size":4,'
        '"input":[{"name":"IN","data_type":"TYPE_FP32","dims":[2]}],'
        '"output":[{"name":"OUT","data_type":"TYPE_FP32","dims":[2]}],"ensemble_scheduling":{"step":['
        f'{{"model_name":"{model}","model_version":-1,"input_map":{{"IN":"IN"}},"output_map":{{"OUT":"OUT"}}}}]}}}}'
    )


def test_a_change_of_the_ensemble_itself_is_loaded(server: atoll.Server, repository: Path) -> None:
    server.load_model("chain")
    write_ensemble(repository, "chain", ["three"])
    server.load_model("chain")
    assert ask(server, "chain") == 3
    write_ensemble(repository, "chain", ["three", "nobody"])
    with pytest.raises(atoll.ConfigError, match="contains models that are not available or ambiguous: nobody"):
        server.load_model("chain")
    assert ask(server, "chain") == 3


def test_a_version_folder_without_files_is_a_version(server: atoll.Server, repository: Path) -> None:
    server.load_model("chain")
    (repository / "chain" / "2").mkdir()
    server.load_model("chain")
    assert server.model("chain").version == "2"
    assert ask(server, "chain", "2") == 6


def test_a_step_asks_for_the_version_that_it_names(server: atoll.Server, repository: Path) -> None:
    write_model(repository, "two", 20, version=2, config="version_policy { all {} }")
    write_ensemble(repository, "old", ["two:1"], versions=(3, 5), more="version_policy { all {} }")
    server.load_model("old")
    assert [ask(server, "old", version) for version in ("", "3", "5")] == [2, 2, 2]
    server.load_model("chain")
    assert ask(server, "chain") == 60
    (repository / "two" / "config.pbtxt").write_text("")
    server.load_model("two")
    assert "ensemble 'old' depends on 'two' whose required version 1 is not loaded." in reason(server, "old")


@pytest.mark.slow
def test_a_poll_takes_ensembles_along(repository: Path) -> None:
    options: Mapping[str, Any] = {"repository_poll_secs": 0.1, "repository_settle_secs": 0.2}
    with atoll.Server(repository, model_control_mode="poll", exit_on_error=False, **options) as server:
        assert ask(server, "around") == 18
        write_model(repository, "two", 5, version=2)
        until(server, "around", 45)
        shutil.rmtree(repository / "two")
        until(server, "around", None)
        write_model(repository, "two", 11)
        until(server, "around", 99)


def until(server: atoll.Server, name: str, answer: float | None) -> None:
    for _ in range(600):
        try:
            found: float | None = ask(server, name)
        except (atoll.NotFoundError, atoll.UnavailableError):
            found = None
        if found == answer:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"'{name}' never answered {answer}: {server.repository_index()}")


# ---- namespaces


def test_a_step_is_searched_beside_the_ensemble_first(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write_model(one, "two", 2)
    write_model(other, "two", 20)
    write_model(other, "three", 3)
    write_ensemble(one, "here", ["two", "three"])
    write_ensemble(other, "there", ["two", "three"])
    (tmp_path / "third").mkdir()
    write_ensemble(tmp_path / "third", "unclear", ["two"])
    with atoll.Server([one, other, tmp_path / "third"], model_namespacing=True, exit_on_error=False) as server:
        assert (ask(server, "here"), ask(server, "there")) == (6, 60)
        (text,) = (str(error) for error in server.failures().values())
        assert "contains models that are not available or ambiguous: two" in text
        steps = server.model("here").config.ensemble_scheduling
        assert steps is not None
        assert [step.model_namespace for step in steps.step] == [str(one), str(other)]


# ---- a memory budget


def test_an_ensemble_that_is_asked_for_wakes_its_steps(tmp_path: Path) -> None:
    for number in range(4):
        write_model(tmp_path, f"m{number}", number + 1, weight_bytes=8 * MIB)
    write_ensemble(tmp_path, "low", ["m0", "m1"])
    write_ensemble(tmp_path, "high", ["m2", "m3"])
    write_ensemble(tmp_path, "both", ["low", "high"])
    write_ensemble(tmp_path, "circle", ["circle"])
    with atoll.Server(tmp_path, model_memory_budget="40MiB") as server:
        assert not server.models()
        for _ in range(3):  # not all of them fit: each wakes what the other needed the room for
            assert ask(server, "low") == 2
            assert ask(server, "high") == 12
        assert ask(server, "both") == 24
        assert sum(model.memory_bytes for model in server.models()) <= 40 * MIB
        with pytest.raises(atoll.UnavailableError, match="circular dependency between ensembles"):
            ask(server, "circle")


def test_steps_of_another_namespace_wake_too(tmp_path: Path) -> None:
    write_model(tmp_path / "other", "two", 2, weight_bytes=8 * MIB)
    write_model(tmp_path / "other", "three", 3, weight_bytes=8 * MIB)
    write_ensemble(tmp_path / "own", "chain", ["two", "three"])
    options: Mapping[str, Any] = {"model_namespacing": True, "model_memory_budget": "20MiB"}
    with atoll.Server([tmp_path / "own", tmp_path / "other"], **options) as server:
        for _ in range(3):  # only one of them fits
            assert ask(server, "chain") == 6


# ---- requests in flight


class Gated:
    """A function that waits until it may go on."""

    def __init__(self, factor: float) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self._factor = np.float32(factor)

    def __call__(self, IN: Any) -> Any:  # noqa: N803
        self.entered.set()
        assert self.open.wait(PATIENCE_S)
        return IN * self._factor


@pytest.fixture
def gated(repository: Path) -> Iterator[tuple[atoll.Server, Gated, "Future[float]"]]:
    """A server with a request that is in the first of its ensemble's two steps, gated and `three`."""
    write_ensemble(repository, "slow", ["gate", "three"])
    gate = Gated(10)
    server = atoll.Server(repository, model_control_mode="explicit", load_model=["slow", "chain"])
    server.add_model("gate", gate, **TENSORS)
    with server, ThreadPoolExecutor(2) as threads:
        answer = threads.submit(ask, server, "slow")
        try:
            assert gate.entered.wait(PATIENCE_S)
            yield server, gate, answer
        finally:
            gate.open.set()


def test_the_end_of_the_server_waits_for_the_next_step(
    gated: tuple[atoll.Server, Gated, "Future[float]"],
) -> None:
    server, gate, answer = gated
    with ThreadPoolExecutor(1) as threads:
        stop = threads.submit(server.stop, PATIENCE_S)
        refused(server, "chain", atoll.UnavailableError)
        gate.open.set()
        stop.result(PATIENCE_S)
    assert answer.result(PATIENCE_S) == 30


def test_the_end_of_the_server_does_not_wait_for_company_of_a_step(repository: Path) -> None:
    batching = "dynamic_batching { preferred_batch_size: 4 max_queue_delay_microseconds: 600000000 }"
    write_model(repository, "patient", 5, config=f"max_batch_size: 4 {batching}")
    write_ensemble(repository, "waiting", ["two", "patient", "patient"])
    with atoll.Server(repository) as server, ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, server, "waiting")
        for _ in range(600):
            if server.model("patient").in_flight():
                break
            threading.Event().wait(0.02)
        server.stop(PATIENCE_S)
        assert answer.result(PATIENCE_S) == 50


def refused(server: atoll.Server, name: str, error: type[Exception]) -> None:
    """Until what is asked of it is refused so."""
    for _ in range(600):
        try:
            ask(server, name)
        except error:
            return
        threading.Event().wait(0.02)
    raise AssertionError(f"'{name}' goes on answering")


def test_a_step_that_is_unloaded_is_there_for_what_its_ensembles_have(
    gated: tuple[atoll.Server, Gated, "Future[float]"],
) -> None:
    server, gate, answer = gated
    server.unload_model("three")
    assert states(server)["slow"] == states(server)["three"] == "UNLOADING"
    for name in ("slow", "three", "chain"):
        with pytest.raises(atoll.NotFoundError):
            ask(server, name)
    gate.open.set()
    assert answer.result(PATIENCE_S) == 30
    for _ in range(600):
        if states(server)["three"] == "UNAVAILABLE":
            break
        threading.Event().wait(0.02)
    assert reason(server, "three") == "unloaded"


def test_an_ensemble_that_is_loaded_anew_answers_what_it_has(
    gated: tuple[atoll.Server, Gated, "Future[float]"], repository: Path
) -> None:
    server, gate, answer = gated
    write_ensemble(repository, "slow", ["two"])
    server.load_model("slow")
    assert ask(server, "slow") == 2
    gate.open.set()
    assert answer.result(PATIENCE_S) == 30


@pytest.mark.slow
def test_loads_unloads_and_requests_may_come_at_once(repository: Path) -> None:
    """Whatever the order, an answer is right or says that the model is not there."""
    done = threading.Event()

    def change(server: atoll.Server, name: str) -> None:
        for _ in range(6):
            with suppress(atoll.ConfigError):  # a step's model was unloaded meanwhile
                server.load_model(name)
            server.unload_model(name)

    def use(server: atoll.Server) -> int:
        answers = 0
        while not done.is_set():
            try:
                assert ask(server, "around") == 18
                answers += 1
            except (atoll.NotFoundError, atoll.UnavailableError):
                pass
        return answers

    with (
        atoll.Server(repository, model_control_mode="explicit", load_model=["around"]) as server,
        ThreadPoolExecutor(5) as threads,
    ):
        users = [threads.submit(use, server) for _ in range(2)]
        changes = [threads.submit(change, server, name) for name in ("two", "chain", "around")]
        try:
            for one in changes:
                one.result(PATIENCE_S)
        finally:
            done.set()
        server.load_model("around")
        assert ask(server, "around") == 18
        for user in users:
            user.result(PATIENCE_S)


# ---- what is said of it


def test_an_ensemble_is_available_while_its_steps_are(server: atoll.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.load_model("around")
    assert server.model_ready("around")
    monkeypatch.setattr(server.model("two"), "_is_available", lambda: False)  # its processes are down
    assert not server.model_ready("around")
    assert server.model_ready("three")


def test_outputs_have_the_labels_of_the_models_that_make_them(server: atoll.Server, repository: Path) -> None:
    write_model(repository, "three", 3, config='output { name: "OUT" label_filename: "l" }')
    (repository / "three" / "l").write_text("cat\ndog\n")
    write_ensemble(repository, "own", ["three"])
    text = (repository / "own" / "config.pbtxt").read_text().replace('name: "OUT"', 'name: "OUT" label_filename: "m"')
    (repository / "own" / "config.pbtxt").write_text(text)
    (repository / "own" / "m").write_text("one\ntwo\n")
    server.load_model("around")
    server.load_model("own")
    assert server.model("around").labels == {"OUT": ("cat", "dog")}
    assert server.model("own").labels == {"OUT": ("one", "two")}
    (repository / "three" / "l").write_text("red\nblue\n")
    server.load_model("three")
    assert server.model("around").labels == {"OUT": ("red", "blue")}


def test_an_ensemble_is_decoupled_where_a_step_is(server: atoll.Server, repository: Path) -> None:
    write_ensemble(repository, "says", ["two"], more="model_transaction_policy { decoupled: true }")
    server.load_model("says")
    assert not server.model("says").decoupled


def test_ensembles_inside_each_other_are_loaded_as_deep_as_requests_can_go(tmp_path: Path) -> None:
    write_model(tmp_path, "two", 2)
    for number in range(MOST_NESTED + 8):
        write_ensemble(tmp_path, f"level_{number + 1:02}", [f"level_{number:02}" if number else "two"])
    with atoll.Server(tmp_path, exit_on_error=False, model_control_mode="explicit", load_model=["*"]) as server:
        assert ask(server, f"level_{MOST_NESTED}") == 2
        found = states(server)
        assert found[f"level_{MOST_NESTED + 1}"] == found[f"level_{MOST_NESTED + 8}"] == "UNAVAILABLE"
        expected = f"more than {MOST_NESTED} ensembles inside each other, by way of 'level_{MOST_NESTED}'"
        assert expected in reason(server, f"level_{MOST_NESTED + 1}")
        write_ensemble(tmp_path, "level_01", ["level_00", "two"])
        write_ensemble(tmp_path, "level_00", ["two"])
        server.load_model("level_01")
        assert states(server)[f"level_{MOST_NESTED}"] == "UNAVAILABLE"  # one more is inside it now
        assert ask(server, f"level_{MOST_NESTED - 1}") == 4
