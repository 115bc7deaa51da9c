"""Which requests are traced, and what is written of them."""

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import InvalidArgumentError
from atoll.observability.tracing import record as records
from atoll.observability.tracing import record_thread
from atoll.observability.tracing import tracer as tracers
from atoll.observability.tracing.settings import TraceSettings, read_update
from atoll.observability.tracing.trace import RequestTrace, TracedSender, join_made
from atoll.observability.tracing.tracer import Tracer
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor


class Answers:
    """Where responses go."""

    def __init__(self) -> None:
        self.got: list[tuple[InferenceResponse | None, bool]] = []

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self.got.append((response, final))


def request(model: str = "m", id: str = "") -> InferenceRequest:
    tensor = Tensor("IN", DataType.INT32, (2,), array=np.array([1, 2], np.int32))
    return InferenceRequest(model, {"IN": tensor}, Answers(), id=id)


def answer(one: InferenceRequest) -> None:
    """As a model does that takes it."""
    if one.trace is not None:
        one.trace.queued(one, one.model_name, "1")
    stamps = one.timeline
    stamps.request_start, stamps.queue_start = 1, 2
    stamps.compute_start, stamps.compute_input_end, stamps.compute_output_start, stamps.compute_end = 3, 4, 5, 6
    stamps.request_end = 7
    output = Tensor("OUT", DataType.INT32, (2,), array=np.array([3, 4], np.int32))
    one.sender.send(InferenceResponse(one.model_name, "1", one.id, [output]), True)


def run(tracer: Tracer, model: str = "m", id: str = "") -> InferenceRequest:
    one = request(model, id)
    tracer.begin(one)
    answer(one)
    return one


def read(path: Path) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = json.loads(path.read_text())
    return document


def ids(path: Path) -> list[str]:
    return [entry["request_id"] for entry in read(path) if "model_name" in entry]


def tracer(folder: Path, **values: Any) -> Tracer:
    return Tracer(TraceSettings(**{"levels": ("TIMESTAMPS",), "rate": 1, "file": str(folder / "t.json"), **values}))


def test_without_a_level_or_a_file_nothing_is_active() -> None:
    assert not Tracer().active
    assert not Tracer(TraceSettings(levels=("TIMESTAMPS",))).active
    off = Tracer()
    assert run(off).trace is None
    off.close()


def test_one_of_rate_requests_is_traced_until_the_count_is_used_up(tmp_path: Path) -> None:
    one = tracer(tmp_path, rate=2, count=2)
    for number in range(8):
        run(one, id=str(number))
    assert one.settings().count == 0
    assert not one.active
    one.close()
    assert ids(tmp_path / "t.json") == ["1", "3"]


def test_what_is_set_later_keeps_what_is_left_of_the_count(tmp_path: Path) -> None:
    one = tracer(tmp_path, count=3)
    run(one)
    assert one.update(read_update({"trace_count": ["9"]})).count == 9
    run(one)
    assert one.update(read_update({"trace_rate": ["1"]})).count == 8
    assert one.update(read_update({"trace_count": None})).count == 3
    one.close()


def test_a_model_has_settings_of_its_own_where_they_were_set(tmp_path: Path) -> None:
    one = tracer(tmp_path)
    one.update(read_update({"trace_level": ["OFF"]}))
    one.update(read_update({"trace_level": ["TIMESTAMPS"]}), "m")
    run(one, "m", "traced")
    run(one, "other", "not")
    one.update(read_update({"trace_level": None}), "m")
    assert not one.active
    run(one, "m", "not either")
    one.close()
    assert ids(tmp_path / "t.json") == ["traced"]


def test_settings_that_cannot_be_change_nothing(tmp_path: Path) -> None:
    one = Tracer()
    with pytest.raises(InvalidArgumentError, match="trace file name is not given"):
        one.update(read_update({"trace_level": ["TIMESTAMPS"], "trace_rate": ["5"]}))
    assert one.settings() == TraceSettings()
    one.close()


def test_indexed_files_have_log_frequency_traces_each_and_the_last_what_is_left(tmp_path: Path) -> None:
    one = tracer(tmp_path, log_frequency=2)
    for number in range(5):
        run(one, id=str(number))
    one.close()
    assert [ids(tmp_path / f"t.json.{number}") for number in range(3)] == [["0", "1"], ["2", "3"], ["4"]]
    assert not (tmp_path / "t.json").exists()


def test_other_settings_begin_the_next_file(tmp_path: Path) -> None:
    one = tracer(tmp_path, log_frequency=10)
    run(one, id="before")
    one.update(read_update({"log_frequency": ["5"]}))
    run(one, id="after")
    one.close()
    assert [ids(tmp_path / f"t.json.{number}") for number in range(2)] == [["before"], ["after"]]


def test_the_file_is_whole_after_each_trace(tmp_path: Path) -> None:
    one = tracer(tmp_path)
    for number in range(3):
        run(one, id=str(number))
        for _ in range(500):
            if (tmp_path / "t.json").exists() and len(ids(tmp_path / "t.json")) == number + 1:
                break
            threading.Event().wait(0.01)
        assert len(ids(tmp_path / "t.json")) == number + 1
    one.close()


def test_what_is_noted_of_a_request(tmp_path: Path) -> None:
    one = tracer(tmp_path, levels=("TIMESTAMPS", "TENSORS"))
    run(one, id="r")
    one.close()
    entries = read(tmp_path / "t.json")
    assert {entry["id"] for entry in entries} == {1}
    assert entries[0] == {"id": 1, "model_name": "m", "model_version": 1, "request_id": "r"}
    names = [entry["timestamps"][0]["name"] for entry in entries if "timestamps" in entry]
    assert names == [
        *("REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START"),
        *("COMPUTE_END", "INFER_RESPONSE_COMPLETE", "REQUEST_END"),
    ]
    assert [(entry["activity"], entry["tensor"]["data"]) for entry in entries if "activity" in entry] == [
        ("TENSOR_QUEUE_INPUT", "1,2"),
        ("TENSOR_BACKEND_OUTPUT", "3,4"),
    ]


def test_a_refused_request_ends_its_trace(tmp_path: Path) -> None:
    one = tracer(tmp_path)
    refused = request(id="refused")
    one.begin(refused)
    assert refused.trace is not None
    refused.trace.queued(refused, "m", "1")
    refused.trace.refused()
    one.close()
    assert ids(tmp_path / "t.json") == ["refused"]


def test_requests_made_for_another_are_in_its_trace(tmp_path: Path) -> None:
    one = tracer(tmp_path, log_frequency=1)
    whole, step, inner = request("e", "whole"), request("s", "step"), request("i", "inner")
    one.begin(whole)
    assert whole.trace is not None
    whole.trace.composed()
    whole.trace.join(step)
    assert step.trace is not None
    step.trace.join(inner)
    for part in (inner, step, whole):
        answer(part)
    one.close()
    parents = {one["request_id"]: one.get("parent_id") for one in read(tmp_path / "t.json.0") if "model_name" in one}
    assert parents == {"whole": None, "step": 1, "inner": 2}
    computed = {one["id"] for one in read(tmp_path / "t.json.0") if "COMPUTE_START" in str(one)}
    assert computed == {2, 3}  # an ensemble computes nothing itself


def test_nothing_joins_a_trace_that_has_been_written(tmp_path: Path) -> None:
    one = tracer(tmp_path, log_frequency=1)
    whole = run(one, id="whole")
    late = request(id="late")
    assert whole.trace is not None
    whole.trace.join(late)
    answer(late)
    one.close()
    assert ids(tmp_path / "t.json.0") == ["whole"]
    assert not (tmp_path / "t.json.1").exists()


@pytest.mark.parametrize("said", [None, 5, [], ["x"], [None, -1], [None, True], ["{}", "1"], [[], {}], [None, 2**70]])
def test_what_a_model_says_of_a_trace_is_not_trusted(said: object) -> None:
    made = request()
    join_made(made, said, lambda number: None)
    assert made.trace is None


def test_a_model_names_the_trace_that_it_was_given(tmp_path: Path) -> None:
    one = tracer(tmp_path)
    whole, made = request(id="whole"), request(id="made")
    one.begin(whole)
    trace = whole.trace
    assert isinstance(trace, RequestTrace)
    join_made(made, [None, trace.number], {trace.number: trace}.get)
    answer(made)
    answer(whole)
    one.close()
    assert sorted(ids(tmp_path / "t.json")) == ["made", "whole"]


def test_a_file_that_cannot_be_written_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = tracer(tmp_path, file=str(tmp_path / "gone" / "t.json"))
    run(one)
    one.close()
    assert "traces cannot be written" in caplog.text


def test_traces_for_which_the_disk_is_too_slow_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_thread, "MAX_WAITING", 0)
    one = tracer(tmp_path)
    run(one)
    one.close()
    assert not (tmp_path / "t.json").exists()


def test_no_more_traces_than_a_bound_wait_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracers, "MAX_PENDING", 3)
    one = tracer(tmp_path, log_frequency=4_000_000_000)
    for number in range(3):
        run(one, id=str(number))
    one.close()
    assert ids(tmp_path / "t.json.0") == ["0", "1", "2"]


def test_traces_that_wait_take_a_bounded_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces with tensors are as large as their requests: the number alone bounds nothing."""
    monkeypatch.setattr(tracers, "MAX_PENDING_BYTES", 2 * records.PART_BYTES)
    one = tracer(tmp_path, levels=("TENSORS",), log_frequency=4_000_000_000)
    for number in range(3):
        run(one, id=str(number))
    one.close()
    assert {entry["id"] for entry in read(tmp_path / "t.json.0")} == {1, 2}
    monkeypatch.setattr(record_thread, "MAX_WAITING_BYTES", records.PART_BYTES)
    other = tracer(tmp_path, levels=("TENSORS",), log_frequency=0)
    run(other)
    other.close()
    assert not (tmp_path / "t.json").exists()


def test_a_stream_without_an_end_is_traced_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_TEXT", 100)
    one = tracer(tmp_path, levels=("TENSORS",))
    long = request(id="i" * 101)
    one.begin(long)
    assert long.trace is not None
    long.trace.queued(long, "m", "1")
    output = Tensor("OUT", DataType.INT32, (2,), array=np.array([3, 4], np.int32))
    for number in range(1000):
        long.sender.send(InferenceResponse("m", "1", "", [output]), number == 999)
    large = Tensor("OUT", DataType.INT32, (101,), array=np.zeros(101, np.int32))
    other = request()
    one.begin(other)
    other.sender.send(InferenceResponse("m", "1", "", [large]), True)
    one.close()
    entries = read(tmp_path / "t.json")
    assert sum(len(entry["tensor"]["data"]) for entry in entries) in range(90, 101)
    assert "iii" not in json.dumps(entries)


@given(rate=st.integers(1, 5), count=st.integers(-1, 12), frequency=st.integers(0, 6), requests=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_every_sampled_request_is_written_once(
    tmp_path_factory: pytest.TempPathFactory, rate: int, count: int, frequency: int, requests: int
) -> None:
    folder = tmp_path_factory.mktemp("traces")
    one = tracer(folder, rate=rate, count=count, log_frequency=frequency)
    threads = [
        threading.Thread(target=lambda first=first: [run(one, id=str(n)) for n in range(first, requests, 4)])
        for first in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.close()
    written = Counter(name for path in folder.iterdir() for name in ids(path))
    sampled = requests // rate if count < 0 else min(requests // rate, count)
    assert written.total() == sampled
    assert max(written.values(), default=1) == 1
    numbers = [entry["id"] for path in folder.iterdir() for entry in read(path) if "model_name" in entry]
    assert sorted(numbers) == list(range(1, sampled + 1))


def test_a_system_without_threads_left_costs_traces_and_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    one = tracer(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_thread)
        first = run(one, id="lost")
    assert isinstance(first.sender, TracedSender)
    assert isinstance(first.sender._sender, Answers)
    assert [final for _, final in first.sender._sender.got] == [True]
    run(one, id="kept")
    one.close()
    assert ids(tmp_path / "t.json") == ["kept"]
    assert "1 traces were left out" in caplog.text


def test_a_tracer_whose_thread_never_began_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    one = tracer(tmp_path)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    run(one)
    one.close()
    assert not (tmp_path / "t.json").exists()
