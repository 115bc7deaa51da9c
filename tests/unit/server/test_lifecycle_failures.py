"""What is left when a step of a load, an unload or a start fails: the old one serves, states settle, nothing stays."""

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.models.tiny import replace_file, scale_model, write_model

import atoll
from atoll.execution.instance import ModelInstance
from atoll.models import loader as loader_module
from atoll.models.catalog import ModelKey
from atoll.models.loader import Loader
from atoll.models.model import Model
from atoll.repositories.local import LocalRepository

ONES = np.ones((1, 2), np.float32)
INSTANCES = "version_policy {{ all {{}} }} instance_group [{{ count: {} kind: KIND_CPU }}]"


def factor_of(server: atoll.Server, name: str = "m", version: str = "") -> float:
    return float(server.infer(name, {"IN": ONES}, model_version=version)["OUT"][0, 0])


def states(server: atoll.Server) -> list[tuple[str, str, str]]:
    return [(one.name, one.version, one.state) for one in server.repository_index()]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_model(tmp_path, "m", 2)
    return tmp_path


def test_a_backend_that_cannot_close_its_model(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unload = Model.unload

    def broken(model: Model, deadline_ns: int) -> bool:
        unload(model, deadline_ns)
        raise RuntimeError("close failed")

    with atoll.Server(repository, model_control_mode="explicit", load_model=["m"]) as server:
        monkeypatch.setattr(Model, "unload", broken)
        record = server._fleet._control.records.get(ModelKey("m"))
        assert record is not None
        assert record.served is not None
        before = record.served
        write_model(repository, "m", 3, version=2)
        server.load_model("m")
        assert factor_of(server) == 3
        assert record.served is not before
        assert before.lease is not None
        assert before.lease._holders == 0
        assert record.served.lease is not None
        assert record.served.lease._holders == 2
        server.unload_model("m")
        assert states(server) == [("m", "1", "UNAVAILABLE"), ("m", "2", "UNAVAILABLE")]
        monkeypatch.undo()


def test_a_load_that_fails_in_two_ways_settles(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Loader.build

    def broken(self: Loader, *given: Any) -> Model:
        (repository / "m" / "config.pbtxt").write_text("nonsense")
        raise RuntimeError("no memory")

    options: dict[str, Any] = {"model_control_mode": "explicit", "load_model": ["m"], "model_load_retry_count": 1}
    with atoll.Server(repository, **options) as server:
        write_model(repository, "m", 3, version=2)
        monkeypatch.setattr(Loader, "build", broken)
        with pytest.raises(atoll.AtollError):
            server.load_model("m")
        assert states(server) == [("m", "1", "READY"), ("m", "2", "UNAVAILABLE")]
        assert factor_of(server) == 2
        monkeypatch.setattr(Loader, "build", build)
        (repository / "m" / "config.pbtxt").unlink()
        server.load_model("m")
        assert factor_of(server) == 3


def test_an_interrupted_load_settles(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: Any) -> Model:
        raise KeyboardInterrupt

    with atoll.Server(repository, model_control_mode="explicit") as server:
        monkeypatch.setattr(Loader, "build", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.load_model("m")
        assert states(server) == [("m", "1", "UNAVAILABLE")]
        monkeypatch.undo()
        server.load_model("m")
        assert factor_of(server) == 2


@pytest.mark.parametrize("step", ["choose_scheduler", "InstancePool", "Model", "plan_batches", "read_labels"])
def test_nothing_of_a_half_built_version_stays(repository: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    made: list[ModelInstance] = []
    closed: list[ModelInstance] = []
    make, close = ModelInstance.__init__, ModelInstance.close

    def making(self: ModelInstance, *given: Any) -> None:
        made.append(self)
        make(self, *given)

    def closing(self: ModelInstance) -> None:
        closed.append(self)
        close(self)

    def broken(*given: Any, **options: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ModelInstance, "__init__", making)
    monkeypatch.setattr(ModelInstance, "close", closing)
    with atoll.Server(repository, model_control_mode="explicit") as server:
        monkeypatch.setattr(loader_module, step, broken)
        with pytest.raises(atoll.AtollError, match="a bug"):
            server.load_model("m")
        assert made == closed
        assert states(server) == [("m", "1", "UNAVAILABLE")]


def test_instances_that_cannot_all_change_do_not_change(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(repository, "m", 3, version=2, config=INSTANCES.format(1))
    change = Loader.change_instances
    changed: list[str] = []

    def broken(self: Loader, model: Model, *given: Any) -> bool:
        changed.append(model.version)
        if len(changed) == 2:
            raise RuntimeError("no memory")
        return change(self, model, *given)

    with atoll.Server(repository, model_control_mode="explicit", load_model=["m"]) as server:
        monkeypatch.setattr(Loader, "change_instances", broken)
        (repository / "m" / "config.pbtxt").write_text(INSTANCES.format(2))
        with pytest.raises(atoll.AtollError, match="no memory"):
            server.load_model("m")
        assert [len(model.instances()) for model in server.models()] == [1, 1]
        assert [model.config.instance_group[0].count for model in server.models()] == [1, 1]
        server.load_model("m")
        assert [len(model.instances()) for model in server.models()] == [2, 2]
        assert [factor_of(server, version=version) for version in "12"] == [2, 3]


def test_what_is_loaded_after_the_stop_is_never_served(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Loader.build
    begun, go_on = threading.Event(), threading.Event()
    built: list[Model] = []

    def slow(self: Loader, *given: Any) -> Model:
        begun.set()
        assert go_on.wait(60)
        built.append(build(self, *given))
        return built[0]

    monkeypatch.setattr(Loader, "build", slow)
    server = atoll.Server(repository, model_control_mode="explicit", model_load_retry_count=3).start()
    errors: list[BaseException] = []

    def load() -> None:
        try:
            server.load_model("m")
        except atoll.AtollError as error:
            errors.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    assert begun.wait(60)
    server.stop(0)
    go_on.set()
    thread.join(60)
    assert [type(error) for error in errors] == [atoll.UnavailableError]
    assert not server.models()
    assert len(built) == 1  # no further try
    assert built[0].lifecycle.state.value == "UNAVAILABLE"


def test_an_interrupted_start_waits_no_longer_than_a_stop(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write_model(repository, f"other{number}", 3)
    build = Loader.build
    go_on = threading.Event()
    tried: list[str] = []
    interrupt = threading.Event()

    def slow(self: Loader, *given: Any) -> Model:
        tried.append("once")
        interrupt.set()
        assert go_on.wait(60)
        return build(self, *given)

    def press_ctrl_c() -> None:
        assert interrupt.wait(60)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    monkeypatch.setattr(Loader, "build", slow)
    server = atoll.Server(repository, model_load_thread_count=1, exit_timeout_secs=0)
    watcher = threading.Thread(target=press_ctrl_c)
    watcher.start()
    release = threading.Timer(30, go_on.set)  # else a start that waits for the load would wait for ever
    release.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            server.start()
        assert not go_on.is_set()
    finally:
        go_on.set()
        release.cancel()
        watcher.join()
    for thread in threading.enumerate():
        if thread.name.startswith("load"):
            thread.join(60)
    assert tried == ["once"]
    assert not server.models()


def test_a_server_that_is_never_started_has_no_threads(repository: Path) -> None:
    before = set(threading.enumerate())
    atoll.Server(repository, model_memory_budget="50%")
    assert set(threading.enumerate()) == before


def names_of(threads: Sequence[threading.Thread]) -> list[str]:
    return [thread.name for thread in threads]


@pytest.mark.parametrize("options", [{}, {"model_memory_budget": "50%"}, {"model_control_mode": "poll"}])
def test_an_unreachable_second_repository_at_start(repository: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    before = set(threading.enumerate())
    with pytest.raises(atoll.NotFoundError):
        atoll.Server([repository, tmp_path / "missing"], repository_settle_secs=0, **options).start()
    assert not names_of([one for one in threading.enumerate() if one not in before])


def test_a_request_that_finds_the_old_model_gets_the_new_one(repository: Path) -> None:
    with atoll.Server(repository, model_control_mode="explicit", load_model=["m"]) as server:
        old = server.model("m")
        replace_file(repository / "m" / "1" / "model.onnx", scale_model(5))
        server.load_model("m")
        assert not old.ready
        assert factor_of(server) == 5


def test_an_instance_that_cannot_close_keeps_nothing_else(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(repository, "m", 2, config=INSTANCES.format(3))
    closed: list[str] = []

    def broken(instance: ModelInstance) -> None:
        closed.append(instance.name)
        raise RuntimeError("close failed")

    with atoll.Server(repository, model_control_mode="explicit", load_model=["m"]) as server:
        backend_closed: list[bool] = []
        model = server.model("m")
        monkeypatch.setattr(model, "_backend_model", _Closing(backend_closed))
        monkeypatch.setattr(ModelInstance, "close", broken)
        server.unload_model("m")
        assert len(closed) == 3
        assert backend_closed == [True]
        assert states(server) == [("m", "1", "UNAVAILABLE")]
        monkeypatch.undo()


class _Closing:
    def __init__(self, closed: list[bool]) -> None:
        self._closed = closed

    def close(self) -> None:
        self._closed.append(True)


def test_settings_that_cannot_be_read_leave_no_repository_open(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(LocalRepository, "close", lambda self: closed.append(self.location))
    (repository / "config.pbtxt").write_text("nonsense")
    with pytest.raises(atoll.ConfigError):
        atoll.Server([repository, repository / "m" / "1" / "model.onnx"])
    assert len(closed) == 2
