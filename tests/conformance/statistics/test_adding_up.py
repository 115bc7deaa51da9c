"""Known traffic of every kind: the statistics, their RPC and the metrics page agree with it and with each other."""

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.conformance.metrics import families
from tests.conformance.process import wait_until
from tests.conformance.statistics.adding_up import (
    FIRST_RESPONSES,
    SUMMARIES,
    Series,
    expect_agreement,
    expect_statistics_sum,
    expect_what_was_sent,
    series_of,
)
from tests.conformance.statistics.statistics_repository import DIES, ENDS_EMPTY, FAILS, RAISES
from tests.conformance.statistics.traffic import DOORS, FUNCTION, ONNX, Sent, Traffic, served
from tests.side_by_side import side_by_side
from tritonclient.grpc import service_pb2 as pb

ROUNDS = 12
EVERYTHING = ("histogram_latencies=true", "summary_latencies=true")


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    with served(tmp_path_factory.mktemp("adding-up"), metrics_config=EVERYTHING) as made:
        made.ledger.note("warm", success=10, items=10)  # its warm-up
        yield made


def check(traffic: Traffic, *models: str) -> None:
    """All that was sent so far to these models is counted, everywhere alike."""
    settled = traffic.on.settled(*models)
    page = series_of(families(traffic.on.server))
    for model, documents in settled.items():
        assert _without_memory(traffic.on.message(model)) == _without_memory(documents)
        for document in documents:
            key = (model, document["version"])
            assert document["name"] == model
            expect_statistics_sum(document)
            page[key].expect_sum()
            expect_agreement(document, page[key])
            expect_what_was_sent(document, page[key], traffic.ledger.sent.get(key, Sent()))


def _without_memory(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How much a process has may change from one moment to the next."""
    for document in documents:
        for one in document["memory_usage"]:
            assert one.pop("byte_size") > 0
    return documents


@pytest.mark.parametrize("door", DOORS)
def test_requests_one_by_one_and_in_rows(traffic: Traffic, door: str) -> None:
    for model in ("plain", "sized", ONNX, FUNCTION):
        for rows in (1, 2, 8):
            traffic.succeed(door, model, 4, rows=rows)
    check(traffic, "plain", "sized", ONNX, FUNCTION)


@pytest.mark.parametrize("door", DOORS)
def test_versions_are_counted_apart(traffic: Traffic, door: str) -> None:
    for version in ("1", "3", "3"):
        traffic.succeed(door, "versions", 1, version=version)
    check(traffic, "versions")


@pytest.mark.parametrize("door", DOORS)
def test_failures(traffic: Traffic, door: str) -> None:
    for number in (FAILS, RAISES, FAILS):
        traffic.fail(door, "failing", number)
    traffic.succeed(door, "failing", 1)
    traffic.fail(door, FUNCTION, 5)
    check(traffic, "failing", FUNCTION)


@pytest.mark.parametrize("door", DOORS)
def test_requests_that_do_not_fit(traffic: Traffic, door: str) -> None:
    traffic.refuse(door, "door", 1, rows=9, code="INVALID_ARG")
    traffic.refuse(door, ONNX, 1, 2, rows=1, code="INVALID_ARG")
    traffic.succeed(door, "door", 1)
    check(traffic, "door", ONNX)


@pytest.mark.parametrize("door", DOORS)
def test_hits_and_misses(traffic: Traffic, door: str) -> None:
    number = 100 + DOORS.index(door)
    for model in ("cached", "chain_cached"):
        for hit in (False, True, True):
            assert traffic.ask(door, model, number)
            traffic.ledger.note(model, success=not hit, items=not hit, missed=not hit, hits=hit)
    traffic.ledger.note("step", success=1, items=1)
    assert not traffic.ask(door, "cached", FAILS)
    traffic.ledger.note("cached", failed="BACKEND", missed=1)
    check(traffic, "cached", "chain_cached", "step")


@pytest.mark.parametrize("door", DOORS)
def test_an_ensemble_and_its_steps(traffic: Traffic, door: str) -> None:
    for rows in (1, 3):
        traffic.succeed(door, "chain", 1, rows=rows)
        traffic.ledger.note("step", success=2, items=2 * rows)
    traffic.fail(door, "chain", FAILS, reason="OTHER")
    traffic.ledger.note("step", failed="BACKEND")
    check(traffic, "chain", "step")


@pytest.mark.parametrize("door", ["grpc", "process"])
def test_responses_by_their_place(traffic: Traffic, door: str) -> None:
    traffic.stream(door, "many", 1)
    traffic.stream(door, "many", 1, 2, 3)
    traffic.stream(door, "many", 1, 2, ENDS_EMPTY)
    check(traffic, "many")
    series = series_of(families(traffic.on.server))
    assert series["many", "1"].histograms[FIRST_RESPONSES].count > 0
    assert FIRST_RESPONSES not in series["plain", "1"].histograms
    assert series["many", "1"].summaries.keys() < SUMMARIES.keys() == series["cached", "1"].summaries.keys()


def test_warm_up_counts_as_requests(traffic: Traffic) -> None:
    check(traffic, "warm")


def test_a_process_that_dies_fails_what_it_executes(traffic: Traffic) -> None:
    traffic.fail("http", "again", DIES)
    wait_until(lambda: traffic.server.model_ready("again"), "the model again")
    traffic.succeed("grpc", "again", 1)
    check(traffic, "again")


def test_steps_of_sequences(traffic: Traffic) -> None:
    """Two that are executed together, with two empty slots."""

    def step(sequence: int, start: bool, end: bool) -> Any:
        return traffic.on.send(
            "direct",
            1,
            fields={
                "parameters": {
                    "sequence_id": pb.InferParameter(int64_param=sequence),
                    "sequence_start": pb.InferParameter(bool_param=start),
                    "sequence_end": pb.InferParameter(bool_param=end),
                }
            },
        )

    for start, end in ((True, False), (False, False), (False, True)):
        futures = [step(sequence, start, end) for sequence in (5, 6)]
        assert traffic.wait_ended(futures) == ["OK", "OK"]
        traffic.ledger.note("direct", success=2, items=2)
    check(traffic, "direct")


def test_cancelled_while_they_wait_and_while_they_run(traffic: Traffic) -> None:
    with traffic.on.closed("cancelled") as wait_entered:
        running = traffic.on.send("cancelled", 1)
        wait_entered()
        waiting = [traffic.on.send("cancelled", 1) for _ in range(3)]
        traffic.on.wait_pending("cancelled", 3)
        waiting[1].cancel()
        traffic.on.wait_pending("cancelled", 2)
        running.cancel()
    assert traffic.wait_ended([running, *waiting]) == ["CANCELLED", "OK", "CANCELLED", "OK"]
    traffic.ledger.note("cancelled", success=3, items=3)  # what runs is not disturbed
    traffic.ledger.note("cancelled", failed="CANCELED")
    check(traffic, "cancelled")


def test_too_late_in_the_queue_and_no_room_in_it(traffic: Traffic) -> None:
    with traffic.on.closed("timed_queue") as wait_entered:
        running = traffic.on.send("timed_queue", 1)
        wait_entered()
        late = [traffic.on.send("timed_queue", 1) for _ in range(2)]
        assert traffic.wait_ended(late) == ["UNAVAILABLE"] * 2
    assert traffic.wait_ended([running]) == ["OK"]
    traffic.ledger.note("timed_queue", success=1, items=1)
    for _ in late:
        traffic.ledger.note("timed_queue", failed="REJECTED")
    with traffic.on.closed("full_queue") as wait_entered:
        running = traffic.on.send("full_queue", 1)
        wait_entered()
        waiting = traffic.on.send("full_queue", 1)
        traffic.on.wait_pending("full_queue", 1)
        assert traffic.on.ask("full_queue", 1) == "UNAVAILABLE"
    assert traffic.wait_ended([running, waiting]) == ["OK", "OK"]
    traffic.ledger.note("full_queue", success=2, items=2)
    traffic.ledger.note("full_queue", refused="UNAVAILABLE")
    check(traffic, "timed_queue", "full_queue")


def test_deadlines_at_the_door_in_the_queue_and_while_it_runs(traffic: Traffic) -> None:
    body = b'{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1,1],"data":[1]}]}'

    def status(seconds: str) -> int:
        headers = {"Atoll-Deadline-Seconds": seconds}
        return traffic.on.server.exchange("POST", "/v2/models/batched/infer", body=body, headers=headers).status

    assert status("0.000000001") == 504
    traffic.ledger.note("batched", refused="DEADLINE_EXCEEDED")
    with traffic.on.closed("batched") as wait_entered:
        running = threading.Thread(target=status, args=("2",))
        running.start()
        wait_entered()
        assert status("0.1") == 504
        running.join()
    traffic.ledger.note("batched", failed="CANCELED")
    traffic.ledger.note("batched", success=1, items=1)  # the model has answered; nobody heard it
    check(traffic, "batched")


def test_many_at_once_are_counted_one_by_one_and_every_look_at_them_adds_up(traffic: Traffic) -> None:
    over = threading.Event()
    models = ("sized", "batched", ONNX, FUNCTION, "chain", "step", "versions")
    looked: list[int] = []
    watching = [partial(_watch_page, traffic, over, looked), partial(_watch_statistics, traffic, models, over, looked)]

    def send(door: str) -> None:
        for turn in range(ROUNDS):
            rows = turn % 3 + 1
            for model in ("sized", "batched", ONNX, FUNCTION):
                traffic.succeed(door, model, 2, rows=rows)
            traffic.succeed(door, "chain", 1, rows=rows)
            traffic.ledger.note("step", success=2, items=2 * rows)
            traffic.succeed(door, "versions", 1, version=("1", "3")[turn % 2])
            traffic.fail(door, FUNCTION, 3)

    def send_all() -> None:
        try:
            side_by_side(2 * len(DOORS), lambda number: send(DOORS[number % len(DOORS)]))
        finally:
            over.set()

    works = (send_all, *watching)
    side_by_side(len(works), lambda number: works[number]())
    assert sum(looked) > 2
    check(traffic, *models)


def _watch_page(traffic: Traffic, over: threading.Event, looked: list[int]) -> None:
    before: dict[tuple[str, str], Series] = {}
    last = False
    while not last:
        last = over.is_set()
        page = series_of(families(traffic.on.server))
        for key, series in page.items():
            series.expect_sum()
            _expect_no_way_back(_counters(before[key]) if key in before else {}, _counters(series))
        before = page
        looked.append(1)


def _watch_statistics(traffic: Traffic, models: tuple[str, ...], over: threading.Event, looked: list[int]) -> None:
    before: dict[tuple[str, str], dict[str, float]] = {}
    last = False
    while not last:
        last = over.is_set()
        for read in (traffic.on.document, traffic.on.message):
            for document in (one for model in models for one in read(model)):
                expect_statistics_sum(document)
                counters = _flat(document)
                key = (document["name"], document["version"])
                _expect_no_way_back(before.get(key, {}), counters)
                before[key] = counters
        looked.append(1)


def _expect_no_way_back(before: dict[str, float], after: dict[str, float]) -> None:
    fallen = {name: (value, after[name]) for name, value in before.items() if after[name] < value}
    assert not fallen


def _counters(series: Series) -> dict[str, float]:
    gauges = (
        "nv_inference_pending_request_count",
        "atoll_inference_in_flight_request_count",
        "atoll_model_memory_bytes",
    )
    found = {name: value for name, value in series.numbers.items() if name not in gauges}
    for name, histogram in series.histograms.items():
        found |= {f"{name} {bound}": count for bound, count in histogram.buckets.items()}
        found |= {f"{name}_sum": histogram.sum, f"{name}_count": histogram.count}
    return found


def _flat(value: Any, name: str = "") -> dict[str, float]:
    if isinstance(value, dict):
        parts = [_flat(item, f"{name} {key}") for key, item in value.items() if key not in ("name", "version")]
        return {key: number for part in parts for key, number in part.items()}
    if isinstance(value, list):
        if not name.endswith("batch_stats"):
            return {}
        return {key: number for one in value for key, number in _flat(one, f"{name} {one['batch_size']}").items()}
    return {name: value}


def test_memory_is_told_of_models_with_processes_of_their_own(traffic: Traffic) -> None:
    for model, known in (("plain", True), ("many", True), (ONNX, False), (FUNCTION, False), ("chain", False)):
        (document,), (message,) = traffic.on.document(model), traffic.on.message(model)
        for usage in (document["memory_usage"], message["memory_usage"]):
            assert [(one["type"], one["id"]) for one in usage] == [("CPU", 0)] * known
            assert all(one["byte_size"] > 1 << 20 for one in usage)
        page = series_of(families(traffic.on.server))
        assert ("atoll_model_memory_bytes" in page[model, "1"].numbers) is known


def test_the_whole_list_is_that_of_each_model(traffic: Traffic) -> None:
    together = {(one["name"], one["version"]) for one in traffic.on.document()}
    assert together == {(one["name"], one["version"]) for one in traffic.on.message()}
    assert together == {(model.name, model.version) for model in traffic.server.models()}
    assert together <= series_of(families(traffic.on.server)).keys()
    (third,) = traffic.on.document("versions", "3")
    assert [third["version"]] == [one["version"] for one in traffic.on.message("versions", "3")] == ["3"]
