"""The day of an in-process server: start, stop, again; what it says of itself; its log and its metrics."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.server.python_repository import eventually, nothing_left
from tests.unit.tritonserver.conftest import THREAD, TWICE, write_python

from atoll import tritonserver as ts
from atoll.tritonserver.metrics import PROCESS_METRICS

ONE = np.array([1], np.float32)
CALLS: dict[str, Callable[[ts.Server], Any]] = {
    "live": ts.Server.live,
    "ready": ts.Server.ready,
    "metadata": ts.Server.metadata,
    "metrics": ts.Server.metrics,
    "models": ts.Server.models,
    "load": lambda server: server.load("twice"),
    "unload": lambda server: server.unload("twice"),
    "poll": ts.Server.poll_model_repository,
    "register": lambda server: server.register_model_repository("/"),
    "stop": ts.Server.stop,
    "infer": lambda server: server.model("twice").infer(inputs={"IN": ONE}),
    "a model's metadata": lambda server: server.model("twice").metadata(),
    "a model's readiness": lambda server: server.model("twice").ready(),
}


@pytest.fixture
def small(tmp_path: Path) -> str:
    write_python(tmp_path, "twice", TWICE, parameters=THREAD)
    return str(tmp_path)


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    ours = logging.getLogger("atoll")
    before = list(ours.handlers), ours.propagate, ours.level
    yield
    ours.handlers[:], ours.propagate = before[0], before[1]
    ours.setLevel(before[2])


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_not_started_says_so(call: str) -> None:
    with pytest.raises(ts.InvalidArgumentError, match="Server not started"):
        CALLS[call](ts.Server(model_repository="models"))


def test_it_starts_once_and_again_after_it_has_stopped(small: str) -> None:
    server = ts.Server(ts.Options(model_repository=small, server_id="me"))
    with nothing_left():
        for _ in range(2):
            assert server.start(wait_until_ready=True) is server
            with pytest.raises(ts.InvalidArgumentError, match="Server already started"):
                server.start()
            assert server.live()
            assert server.metadata()["name"] == "me"
            assert len(list(server.model("twice").infer(inputs={"IN": ONE}))) == 1
            server.stop()
        with pytest.raises(ts.InvalidArgumentError, match="Server not started"):
            server.stop()


def test_a_block_starts_it_and_stops_it(small: str) -> None:
    with ts.Server(model_repository=small) as server:
        assert server.ready()
    with pytest.raises(ts.InvalidArgumentError, match="Server not started"):
        server.ready()
    with ts.Server(model_repository=small) as server:
        assert server.start(wait_until_ready=True) is server  # as scripts do that start it inside
        with pytest.raises(ts.InvalidArgumentError, match="Server already started"):
            server.start()
    with ts.Server(model_repository=small).start() as server:
        server.stop()


def test_options_and_fields_are_not_mixed(small: str) -> None:
    with pytest.raises(ts.InvalidArgumentError, match=r"give options, or their fields \(server_id\), and not both"):
        ts.Server(ts.Options(model_repository=small), server_id="me")
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        ts.Server(model_repository=small, port=8000)


def test_a_start_that_fails_leaves_nothing(small: str) -> None:
    write_python(Path(small), "broken", "this is no Python", parameters=THREAD)
    server = ts.Server(model_repository=small, log_error=True)
    with nothing_left():
        for _ in range(2):
            with pytest.raises(ts.InternalError, match="failed to load all models"):
                server.start()
    with pytest.raises(ts.InvalidArgumentError, match="Server not started"):
        server.live()


def test_waiting_for_what_never_comes_ends(small: str) -> None:
    write_python(Path(small), "broken", "this is no Python", parameters=THREAD)
    server = ts.Server(model_repository=small, exit_on_error=False)
    with pytest.raises(ts.UnavailableError, match="the server is not ready, and will not be: broken: "):
        server.start(wait_until_ready=True)
    assert server.live()
    assert not server.ready()
    server.stop()
    explicit = ts.ModelControlMode.EXPLICIT
    server = ts.Server(
        model_repository=small, exit_on_error=False, model_control_mode=explicit, startup_models=["broken"]
    )
    with pytest.raises(ts.UnavailableError, match=r"not ready after 0\.05 s: broken: "):
        server.start(wait_until_ready=True, polling_interval=0.01, timeout=0.05)
    server.stop()


def test_many_threads_start_and_stop_it_once(small: str) -> None:
    server = ts.Server(model_repository=small)
    for call in (server.start, server.stop):
        errors: list[ts.TritonError] = []

        def attempt(call: Callable[[], object] = call, errors: list[ts.TritonError] = errors) -> None:
            try:
                call()
            except ts.InvalidArgumentError as error:
                errors.append(error)

        threads = [threading.Thread(target=attempt) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(errors) == 3


def test_models_are_found_by_name_and_version(server: ts.Server) -> None:
    models = server.models()
    assert models["twice", 1].name == models["twice"].name == "twice"
    assert ("twice", 1) in models
    assert "twice" in models
    assert "nothing" not in models
    assert str(models["twice"]) == "{'name': 'twice', 'version': 1, 'state': 'READY'}"
    with pytest.raises(KeyError, match="Unknown Model: nothing"):
        models["nothing"]
    with pytest.raises(ts.InvalidArgumentError, match="version is '1'"):
        server.model("twice", "1")  # type: ignore[arg-type]


def test_unloading_waits_until_requests_are_answered(models: Path) -> None:
    with ts.Server(model_repository=str(models), model_control_mode=ts.ModelControlMode.EXPLICIT) as server:
        model = server.load("forever")
        responses = model.infer(inputs={"IN": ONE}, raise_on_error=False)
        next(responses)
        with pytest.raises(ts.UnavailableError, match=r"'forever' is not unloaded after 0\.05 s"):
            server.unload(model, wait_until_unloaded=True, polling_interval=0.01, timeout=0.05)
        responses.cancel()
        server.unload("forever", wait_until_unloaded=True, polling_interval=0.01)
        assert not model.ready()
        with pytest.raises(ts.InternalError, match=r"the load parameter 'file:1/model\.py' of the type str"):
            server.load("forever", {"file:1/model.py": "text"})


def test_stopping_answers_those_who_wait(models: Path) -> None:
    server = ts.Server(model_repository=str(models), exit_timeout=0).start()
    responses = server.model("forever").infer(inputs={"IN": ONE}, raise_on_error=False)
    next(responses)
    with pytest.raises(ts.InvalidArgumentError):
        server.start()
    threading.Thread(target=responses.cancel).start()
    server.stop()
    assert list(responses)[-1].final


def test_threads_that_infer_while_it_stops_are_told(small: str) -> None:
    server = ts.Server(model_repository=small).start()
    model = server.model("twice")
    errors: list[Exception] = []
    answered = [0] * 4

    def ask(number: int) -> None:
        try:
            while True:
                answered[number] += len(list(model.infer(inputs={"IN": ONE})))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    eventually(lambda: all(answered), "answers")
    server.stop()
    for one in threads:
        one.join(60)
    assert [type(one) for one in errors if not isinstance(one, ts.TritonError)] == []
    assert len(errors) == 4


def test_a_loop_that_is_gone_keeps_nothing_from_stopping(models: Path) -> None:
    async def begin(server: ts.Server) -> ts.AsyncResponseIterator:
        responses = server.model("forever").async_infer(inputs={"IN": ONE}, raise_on_error=False)
        await anext(responses)
        return responses

    with nothing_left(), ts.Server(model_repository=str(models)) as server:
        responses = asyncio.run(begin(server))
        responses.cancel()
        eventually(lambda: server.engine.in_flight() == 0, "the request to end")


def test_the_log_goes_where_the_options_say(small: str, tmp_path: Path) -> None:
    file = tmp_path / "log"
    options = {"model_repository": small, "log_file": str(file)}
    with ts.Server(**options, log_info=True, log_warn=True, cuda_memory_pool_sizes={0: 1}):
        ts.LogMessage(ts.LogLevel.INFO, "a 100% line of mine")
        ts.LogMessage(ts.LogLevel.ERROR, "errors are off")
        ts.LogMessage(ts.LogLevel.WARN, "from elsewhere", "there.py", 7)
    text = file.read_text()
    assert "test_in_process_server.py" in text
    assert "a 100% line of mine" in text
    assert "there.py:7] from elsewhere" in text.replace('"', "")
    assert "errors are off" not in text
    assert "Options: cuda_memory_pool_sizes has no effect: device memory is allocated by the models" in text
    assert "successfully loaded 'twice'" in text
    before = len(text)
    with ts.Server(**options):
        ts.LogMessage(ts.LogLevel.INFO, "nobody hears this")
    assert len(file.read_text()) == before
    with pytest.raises(ts.InvalidArgumentError, match="must be a LogLevel"):
        ts.LogMessage("info", "text")  # type: ignore[arg-type]


def test_without_a_word_it_logs_nothing_of_its_own(small: str, capfd: pytest.CaptureFixture[str]) -> None:
    with ts.Server(model_repository=small, cuda_memory_pool_sizes={0: 1}):
        ts.LogMessage(ts.LogLevel.ERROR, "hush")
    assert capfd.readouterr().err == ""


def test_metrics_of_ones_own_are_on_the_page_as_long_as_they_are_held(server: ts.Server) -> None:
    family = ts.MetricFamily(ts.MetricKind.HISTOGRAM, "my_times", "how long")
    metric = ts.Metric(family, {"who": "me"}, buckets=[1.0, 2.0])
    metric.observe(1.5)
    for name, arguments in (("increment", (1,)), ("set_value", (1,))):
        with pytest.raises(ts.UnsupportedError, match="HISTOGRAM does not support"):
            getattr(metric, name)(*arguments)
    with pytest.raises(ts.UnsupportedError, match="HISTOGRAM does not support"):
        _ = metric.value
    del family  # the metric holds it
    assert 'my_times_bucket{who="me",le="2"} 1' in server.metrics()
    assert metric.kind is ts.MetricKind.HISTOGRAM
    del metric
    gc.collect()
    eventually(lambda: "my_times" not in server.metrics(), "the family to leave the page")
    assert "nv_inference_request_success" in server.metrics()


def test_a_family_that_the_collector_finds_within_a_call_stops_nothing() -> None:
    class Circle:
        def __init__(self, number: int):
            self.family = ts.MetricFamily(ts.MetricKind.GAUGE, f"in_a_circle_{number}", "")
            self.itself = self

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(200):
            Circle(number)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    ts.MetricFamily(ts.MetricKind.GAUGE, "in_a_circle_0", "")
    assert not [name for name in PROCESS_METRICS._names if name.startswith("in_a_circle_") and name != "in_a_circle_0"]


def test_metrics_may_be_off(small: str) -> None:
    refused = pytest.raises(ts.UnsupportedError, match="was made with metrics=False")
    with ts.Server(model_repository=small, metrics=False) as server, refused:
        server.metrics()
    with ts.Server(model_repository=small, metrics_configuration={"": {"counter_latencies": "false"}}) as server:
        assert "nv_inference_request_success" in server.metrics()
        assert "nv_inference_queue_duration_us" not in server.metrics()
        with pytest.raises(ts.InvalidArgumentError, match="must be MetricFormat"):
            server.metrics("JSON")  # type: ignore[arg-type]


def test_summaries_are_there_where_the_configuration_wants_them(small: str) -> None:
    wanted = {"": {"summary_latencies": "true", "summary_quantiles": "0.5:0.05"}}
    with ts.Server(model_repository=small, metrics_configuration=wanted) as server:
        page = server.metrics()
    assert "# TYPE nv_inference_request_summary_us summary" in page
    assert {line.partition('quantile="')[2][:3] for line in page.splitlines() if "quantile=" in line} == {"0.5"}
    with pytest.raises(ts.InvalidArgumentError, match="No ':' delimiter found"):
        ts.Server(model_repository=small, metrics_configuration={"": {"summary_quantiles": "x"}}).start()


def test_two_servers_live_side_by_side(small: str) -> None:
    with (
        ts.Server(model_repository=small, server_id="a") as one,
        ts.Server(model_repository=small, server_id="b") as other,
    ):
        assert [server.metadata()["name"] for server in (one, other)] == ["a", "b"]
        list(one.model("twice").infer(inputs={"IN": ONE}))
        counts = [server.model("twice").statistics()["model_stats"][0]["inference_count"] for server in (one, other)]
        assert counts == [1, 0]
