"""Loading, reloading and unloading through the library: what is served, what the index says, and who never fails."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.execution.waiting import wait_until
from tests.unit.models.tiny import replace_file, scale_model, write_model

import atoll

ONES = np.ones((1, 2), np.float32)


def factor_of(server: atoll.Server, name: str = "m", version: str = "") -> float:
    """Which model answers."""
    return float(server.infer(name, {"IN": ONES}, model_version=version)["OUT"][0, 0])


def states(server: atoll.Server) -> list[tuple[str, str, str]]:
    return [(one.name, one.version, one.state) for one in server.repository_index()]


def reason_of(server: atoll.Server, name: str) -> str:
    return next(one.reason for one in server.repository_index() if one.name == name)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_model(tmp_path, "m", 2)
    return tmp_path


@pytest.fixture
def server(repository: Path) -> Iterator[atoll.Server]:
    with atoll.Server(repository, model_control_mode="explicit") as running:
        yield running


def test_nothing_is_loaded_until_somebody_asks(server: atoll.Server) -> None:
    assert states(server) == [("m", "", "")]
    assert server.ready()
    with pytest.raises(atoll.NotFoundError, match="Request for unknown model: 'm' is not found"):
        factor_of(server)
    server.load_model("m")
    assert factor_of(server) == 2
    assert states(server) == [("m", "1", "READY")]


def test_unloaded_models_say_so(server: atoll.Server) -> None:
    server.load_model("m")
    server.unload_model("m")
    assert states(server) == [("m", "1", "UNAVAILABLE")]
    assert reason_of(server, "m") == "unloaded"
    with pytest.raises(atoll.NotFoundError, match="Request for unknown model: 'm' has no available versions"):
        factor_of(server)
    with pytest.raises(atoll.UnavailableError, match="'m' version 1 is not at ready state"):
        factor_of(server, version="1")
    server.load_model("m")
    assert factor_of(server) == 2


def test_unloading_what_nobody_knows_is_no_error(server: atoll.Server) -> None:
    server.unload_model("nope")
    server.unload_model("m")
    server.unload_model("m", unload_dependents=True)


@pytest.mark.parametrize("name", ["nope", "", "..", "../m", "m/1", "a\0b", "x" * 5000, "."])
def test_loading_what_is_not_there(server: atoll.Server, name: str) -> None:
    with pytest.raises(atoll.AtollError, match="failed to poll from model repository"):
        server.load_model(name)
    server.load_model("m")
    assert factor_of(server) == 2


@pytest.mark.parametrize("mode", ["none", "poll"])
def test_other_modes_refuse(repository: Path, mode: str) -> None:
    text = "explicit model load / unload is not allowed if polling is enabled"
    with atoll.Server(repository, model_control_mode=mode, repository_settle_secs=0) as server:
        with pytest.raises(atoll.UnavailableError, match=text):
            server.load_model("m")
        with pytest.raises(atoll.UnavailableError, match=text):
            server.unload_model("m")
        assert factor_of(server) == 2


# ---- at start


def test_load_model_names_what_is_loaded_at_start(repository: Path) -> None:
    write_model(repository, "other", 3)
    with atoll.Server(repository, model_control_mode="explicit", load_model=["other"]) as server:
        assert states(server) == [("m", "", ""), ("other", "1", "READY")]
    with atoll.Server(repository, model_control_mode="explicit", load_model=["*"]) as server:
        assert states(server) == [("m", "1", "READY"), ("other", "1", "READY")]
    with pytest.raises(atoll.InvalidArgumentError, match="requires setting '--model-control-mode=explicit'"):
        atoll.Server(repository, load_model=["m"]).start()
    with pytest.raises(atoll.InvalidArgumentError, match="must be the ONLY startup model"):
        atoll.Server(repository, model_control_mode="explicit", load_model=["*", "m"]).start()


def test_an_unknown_model_at_start(repository: Path) -> None:
    options: dict[str, Any] = {"model_control_mode": "explicit", "load_model": ["m", "nope"]}
    with pytest.raises(atoll.ConfigError, match=r"failed to load all models:\nnope: .*failed to poll"):
        atoll.Server(repository, **options).start()
    with atoll.Server(repository, exit_on_error=False, **options) as server:
        assert factor_of(server) == 2
        assert not server.ready()
    with atoll.Server(repository, exit_on_error=False, strict_readiness=False, **options) as server:
        assert server.ready()


# ---- reload


def test_an_unchanged_model_is_not_loaded_again(server: atoll.Server) -> None:
    server.load_model("m")
    before = server.model("m")
    server.load_model("m")
    assert server.model("m") is before


def test_a_changed_file_is_loaded(server: atoll.Server, repository: Path) -> None:
    server.load_model("m")
    before = server.model("m")
    write_model(repository, "m", 5)
    server.load_model("m")
    assert factor_of(server) == 5
    assert before.lifecycle.state.value == "UNAVAILABLE"


@pytest.mark.slow
def test_no_request_fails_while_models_follow_each_other(server: atoll.Server, repository: Path) -> None:
    server.load_model("m")
    stop = threading.Event()
    wrong: list[object] = []
    answers: list[float] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(factor_of(server))
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for factor in range(3, 23):
        write_model(repository, "m", factor)
        server.load_model("m")
        assert factor_of(server) == factor
        answered = len(answers)
        wait_until(lambda before=answered: wrong or len(answers) > before, "the others got their turn")  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert set(answers) <= set(range(2, 23))
    assert len(set(answers)) > 3


@pytest.mark.parametrize(
    ("content", "config", "text"),
    [
        (b"", None, "the file is empty"),
        (scale_model(3)[:100], None, "not a whole ONNX model"),
        (None, "max_batch_size: 4 input [ { name: 'IM' data_type: TYPE_FP32 dims: [2] } ]", "IM"),
        (None, "max_batch_sise: 4", "max_batch_size"),
    ],
)
def test_a_load_that_fails_changes_nothing(
    server: atoll.Server, repository: Path, content: bytes | None, config: str | None, text: str
) -> None:
    server.load_model("m")
    before = server.model("m")
    if content is not None:
        replace_file(repository / "m" / "1" / "model.onnx", content)
    if config is not None:
        (repository / "m" / "config.pbtxt").write_text(config)
    with pytest.raises(atoll.AtollError, match=text):
        server.load_model("m")
    assert server.model("m") is before
    assert factor_of(server) == 2
    assert states(server) == [("m", "1", "READY")]
    assert server.ready()
    assert text in str(server.failures()["m"])
    write_model(repository, "m", 7, config="")
    server.load_model("m")
    assert factor_of(server) == 7
    assert not server.failures()


def test_a_first_load_that_fails_says_why_in_the_index(server: atoll.Server, repository: Path) -> None:
    replace_file(repository / "m" / "1" / "model.onnx", b"garbage")
    with pytest.raises(atoll.AtollError, match="load failed for model 'm'"):
        server.load_model("m")
    assert "not a whole ONNX model" in reason_of(server, "m")
    assert not server.ready()
    server.unload_model("m")
    assert server.ready()


def test_more_instances_do_not_load_the_model_again(server: atoll.Server, repository: Path) -> None:
    config = repository / "m" / "config.pbtxt"
    config.write_text("instance_group [ { count: 1 kind: KIND_CPU } ]")
    server.load_model("m")
    before = server.model("m")
    first = before.instances()
    for count in (3, 1, 2):
        config.write_text(f"instance_group [ {{ count: {count} kind: KIND_CPU }} ]")
        server.load_model("m")
        assert server.model("m") is before
        assert len(before.instances()) == count
        assert before.instances()[0] is first[0]
        assert before.config.instance_group[0].count == count
        assert factor_of(server) == 2


def test_another_configuration_loads_the_model_again(server: atoll.Server, repository: Path) -> None:
    server.load_model("m")
    before = server.model("m")
    (repository / "m" / "config.pbtxt").write_text("max_batch_size: 3")
    server.load_model("m")
    assert server.model("m") is not before
    assert server.model("m").config.max_batch_size == 3


# ---- versions


def test_a_new_version_follows_the_old_one(server: atoll.Server, repository: Path) -> None:
    server.load_model("m")
    write_model(repository, "m", 20, version=10)
    write_model(repository, "m", 9, version=9)
    server.load_model("m")
    assert factor_of(server) == 20
    assert states(server) == [("m", "1", "UNAVAILABLE"), ("m", "10", "READY")]
    with pytest.raises(atoll.UnavailableError):
        factor_of(server, version="1")


def test_versions_that_did_not_change_go_on(server: atoll.Server, repository: Path) -> None:
    config = repository / "m" / "config.pbtxt"
    config.write_text("version_policy { all {} }")
    server.load_model("m")
    first = server.model("m", 1)
    write_model(repository, "m", 4, version=2)
    server.load_model("m")
    assert server.model("m", 1) is first
    assert [factor_of(server, version=v) for v in ("1", "2", "")] == [2, 4, 4]
    second = server.model("m", 2)
    write_model(repository, "m", 3, version=1)
    server.load_model("m")
    assert server.model("m", 2) is second
    assert factor_of(server, version="1") == 3
    config.write_text("version_policy { specific { versions: [1] } }")
    server.load_model("m")
    assert states(server) == [("m", "1", "READY"), ("m", "2", "UNAVAILABLE")]
    assert factor_of(server) == 3


def test_one_broken_version_keeps_the_model_out(server: atoll.Server, repository: Path) -> None:
    (repository / "m" / "config.pbtxt").write_text("version_policy { all {} }")
    write_model(repository, "m", 3, version=2)
    replace_file(repository / "m" / "1" / "model.onnx", b"garbage")
    with pytest.raises(atoll.AtollError, match="version 1 is at UNAVAILABLE state"):
        server.load_model("m")
    with pytest.raises(atoll.NotFoundError, match="has no available versions"):
        factor_of(server)


# ---- overrides


def test_a_configuration_in_the_request(server: atoll.Server) -> None:
    server.load_model("m", config=json.dumps({"backend": "onnxruntime", "max_batch_size": 5}))
    assert server.model("m").config.max_batch_size == 5
    server.load_model("m")
    assert server.model("m").config.max_batch_size == 4


@pytest.mark.parametrize("config", ["{", "[]", '{"max_batch_sise": 1}', '{"name": "other"}', '{"max_batch_size": "x"}'])
def test_a_wrong_configuration_in_the_request(server: atoll.Server, config: str) -> None:
    server.load_model("m")
    with pytest.raises(atoll.AtollError):
        server.load_model("m", config=config)
    assert factor_of(server) == 2


def test_files_in_the_request(server: atoll.Server, repository: Path) -> None:
    config = json.dumps({"backend": "onnxruntime"})
    server.load_model("m", config=config, files={"7/model.onnx": scale_model(70)})
    assert factor_of(server, version="7") == 70
    folder = server.model("m").directory
    assert folder.is_dir()
    assert repository not in folder.parents
    server.load_model("m")
    assert factor_of(server) == 2
    assert not folder.exists()


def test_files_may_make_a_model_that_no_repository_has(server: atoll.Server) -> None:
    server.load_model("fresh", config='{"backend": "onnxruntime"}', files={"1/model.onnx": scale_model(6)})
    assert factor_of(server, "fresh") == 6
    folder = server.model("fresh").directory
    server.unload_model("fresh")
    assert not folder.exists()


@pytest.mark.parametrize(
    "path", ["../evil", "/etc/evil", "1/../../evil", "1//x", "", ".", "1/\0", "one/model.onnx\\..\\", "1/" + "d/" * 60]
)
def test_files_never_leave_their_folder(server: atoll.Server, path: str, tmp_path: Path) -> None:
    server.load_model("m")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(atoll.AtollError):
        server.load_model("m", config='{"backend": "onnxruntime"}', files={path: b"x", "1/model.onnx": b"y"})
    assert sorted(tmp_path.rglob("*")) == before
    assert factor_of(server) == 2


def test_files_need_a_configuration(server: atoll.Server) -> None:
    with pytest.raises(atoll.InternalError, match="'config' must be specified for model file override"):
        server.load_model("m", files={"1/model.onnx": base64.b64decode("eA==")})


# ---- races


def test_loads_race_with_unloads_and_requests(server: atoll.Server, repository: Path) -> None:
    stop = threading.Event()
    wrong: list[object] = []
    answered = 0

    def change(number: int) -> None:
        for step in range(2000):
            try:
                if (number + step) % 2:
                    server.load_model("m")
                    stop.wait(0.002)  # so that somebody is answered in between
                else:
                    server.unload_model("m")
            except Exception as error:
                wrong.append(error)
            if step > 25 and answered > 25:
                return

    def ask() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                if factor_of(server) != 2:
                    wrong.append("another model's answer")
                answered += 1
            except (atoll.NotFoundError, atoll.UnavailableError):
                stop.wait(0.001)
            except Exception as error:
                wrong.append(error)

    changing = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in changing + asking:
        thread.start()
    for thread in changing:
        thread.join(120)
    stop.set()
    for thread in asking:
        thread.join(60)
    assert not wrong
    assert answered
    server.load_model("m")
    assert factor_of(server) == 2
    assert server.in_flight() == 0
    for thread in threading.enumerate():
        if thread.name == "unload":
            thread.join(60)
            assert not thread.is_alive()


def test_stopping_while_models_load(repository: Path) -> None:
    server = atoll.Server(repository, model_control_mode="explicit").start()
    errors: list[Exception] = []

    def load() -> None:
        try:
            for _ in range(100):
                server.load_model("m")
                server.unload_model("m")
        except atoll.UnavailableError as error:
            errors.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    server.stop()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert all("Server is stopping" in str(error) for error in errors)
    assert not server.models()


# ---- several repositories


def test_a_name_in_two_repositories_is_served_from_neither(tmp_path: Path) -> None:
    for place, factor in (("a", 2), ("b", 3)):
        write_model(tmp_path / place, "same", factor)
        write_model(tmp_path / place, place, factor)
    places = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(atoll.ConfigError, match=r"two or more repositories: 'same' is in .*/a, .*/b"):
        atoll.Server(places).start()
    with atoll.Server(places, exit_on_error=False) as server:
        assert factor_of(server, "a") == 2
        assert factor_of(server, "b") == 3
        with pytest.raises(atoll.NotFoundError):
            factor_of(server, "same")


def test_namespaces_serve_both(tmp_path: Path) -> None:
    for place, factor in (("a", 2), ("b", 3)):
        write_model(tmp_path / place, "same", factor)
        write_model(tmp_path / place, place, factor)
    with atoll.Server([tmp_path / "a", tmp_path / "b"], model_namespacing=True) as server:
        assert len(server.models()) == 4
        assert factor_of(server, "b") == 3
        with pytest.raises(atoll.InvalidArgumentError, match="2 identifiers of model 'same'"):
            factor_of(server, "same")


def test_a_name_means_all_of_its_namespaces(tmp_path: Path) -> None:
    for place, factor in (("a", 2), ("b", 3)):
        write_model(tmp_path / place, "same", factor)
    places = [tmp_path / "a", tmp_path / "b"]
    options: dict[str, Any] = {"model_namespacing": True, "model_control_mode": "explicit"}
    with atoll.Server(places, load_model=["same"], **options) as server:
        assert len(server.models()) == 2
        server.unload_model("same")
        assert not server.models()
        server.load_model("same")
        assert states(server) == [("same", "1", "READY")] * 2


# ---- retries


def test_a_failing_model_is_tried_again(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from atoll.models.loader import Loader

    tries = []
    build = Loader.build

    def flaky(self: Loader, *arguments: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise atoll.UnavailableError("not yet")
        return build(self, *arguments)

    monkeypatch.setattr(Loader, "build", flaky)
    with pytest.raises(atoll.ConfigError, match="not yet"):
        atoll.Server(repository, model_load_retry_count=1).start()
    tries.clear()
    with atoll.Server(repository, model_load_retry_count=2) as server:
        assert factor_of(server) == 2


# ---- what is borrowed goes back


def test_every_folder_goes_back_to_its_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads that succeed, fail, keep versions or change instances: each folder is released as often as it was given."""
    from atoll.repositories.local import LocalRepository

    given: list[Path] = []
    folder = LocalRepository.folder

    def counted(self: LocalRepository, name: str) -> Any:
        found = folder(self, name)
        given.append(found.directory)
        return found

    monkeypatch.setattr(LocalRepository, "folder", counted)
    monkeypatch.setattr(LocalRepository, "release", lambda self, found: given.remove(found.directory))
    config = repository / "m" / "config.pbtxt"
    with atoll.Server(repository, model_control_mode="explicit") as server:
        config.write_text("version_policy { all {} }")
        server.load_model("m")
        assert len(given) == 1
        write_model(repository, "m", 3, version=2)
        server.load_model("m")
        assert len(given) == 2  # version 1 goes on from the first
        config.write_text("version_policy { all {} } instance_group [ { count: 3 kind: KIND_CPU } ]")
        server.load_model("m")
        assert len(given) == 3
        replace_file(repository / "m" / "2" / "model.onnx", b"garbage")
        with pytest.raises(atoll.AtollError):
            server.load_model("m")
        assert len(given) == 3
        write_model(repository, "m", 4, version=2)
        write_model(repository, "m", 5, version=1)
        server.load_model("m")
        assert len(given) == 1
        server.load_model("m", config='{"backend": "onnxruntime"}')
        server.load_model("m", config='{"backend": "onnxruntime"}', files={"1/model.onnx": scale_model(9)})
        assert not given
        server.load_model("m")
        assert len(given) == 1
    assert not given
