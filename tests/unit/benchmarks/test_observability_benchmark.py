"""The benchmark of observability: what it measures in which order, what it makes of the figures, what it asks with."""

import gzip
import io
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.load import LoadError
from benchmarks.observability.asking import PageReader, Poll, read_answer
from benchmarks.observability.command import main, read_options
from benchmarks.observability.pages import PageCost, pages
from benchmarks.observability.plan import PARTS, RATES, Page, conditions
from benchmarks.observability.receiver import Received, Receiver, RunningReceiver, receiving, spans_in
from benchmarks.observability.recording import Cost, SilentRecorder, WholeCost, recording_costs
from benchmarks.observability.report import render
from benchmarks.observability.served import Observation, differences, ratios
from benchmarks.observability.tracing import arguments, lay_out, order, setting
from benchmarks.samples import Sample
from benchmarks.servers import RunningServer, ServerError

from atoll.observability.statistics.recorder import StatisticsRecorder

PATIENCE_S = 20.0
SAMPLE = Sample(1, "atoll", "model_000", "http", 8, 4000.0, 900.0, 2000.0, 50.0, 9000, 0.0, 0.0)
QUIET = Observation("scrape", "one of 500 models", "no scrape", "", SAMPLE)
SCRAPED = replace(
    QUIET,
    condition="scrape every 1 s",
    baseline="no scrape",
    sample=replace(SAMPLE, throughput=3000.0, p99_us=2500.0, cpu_us=53.0),
    pages=4,
    page_ms=12.5,
)


def _next_round(one: Observation, **values: float) -> Observation:
    return replace(one, sample=replace(one.sample, round=one.sample.round + 1, **values))  # type: ignore[arg-type]


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_every_condition_is_compared_with_one_that_is_measured() -> None:
    found = conditions(PARTS, 1.0)
    assert {one.baseline for one in found} - {""} <= {one.title for one in found if not one.baseline}
    for one in found:
        base = next((other for other in found if other.title == one.baseline), one)
        assert base.all_active == one.all_active
        assert (one.page is None) == (not one.baseline)
    assert {one.part for one in conditions(["dashboard"], 1.0)} == {"dashboard"}
    assert conditions(["recording", "tracing"], 1.0) == []


def test_ratios_and_differences_are_of_one_round() -> None:
    second = _next_round(SCRAPED, p99_us=9000.0)  # whose baseline failed
    found = [QUIET, SCRAPED, second]
    share = ratios(found, SCRAPED, lambda sample: sample.p99_us)
    assert share is not None
    assert (share.median, share.runs) == (1.25, 1)
    more = differences(found, SCRAPED, lambda sample: sample.cpu_us)
    assert more is not None
    assert more.median == 3.0
    assert ratios(found, QUIET, lambda sample: sample.p99_us) is None
    of_others = replace(QUIET, subject="something else")
    assert ratios([of_others, SCRAPED], SCRAPED, lambda sample: sample.p99_us) is None


def test_the_report_has_each_figure() -> None:
    costs = [Cost(1, "record_batch", 1, False, 1.2), Cost(2, "record_batch", 1, False, 1.6)]
    whole = [WholeCost(1, 8, True, 26.0, 13.0, 10.0, 3.0)]
    page = PageCost("/metrics", True, 500, True, 250_000, 60_000, [30.0, 20.0, 40.0], 25.0)
    traced = Observation("tracing", "Atoll, simple, mode triton", "rate=1", "off", SAMPLE, left=880.0)
    text = render(costs, whole, [page], [QUIET, SCRAPED, traced], {"machine": "this"}, ["one thing"])
    rows = _rows(text)
    assert ["record_batch", "1", "no", "1.40", "1.20 to 1.60", "2", "< 2", "yes"] in rows
    assert ["8", "26.0", "yes", "10.00", "13.00", "3.00", "3.00 to 3.00", "1", "< 2", "NO"] in rows
    shown = ["/metrics", "500", "active", "gzip", "250.0", "60,000", "30.0", "20.0 to 40.0", "25.0", "3"]
    assert shown in rows
    compared = ["0.75", "1.00", "1.25", "1.25 to 1.25", "+3.0", "4", "12.5"]
    assert [
        "one of 500 models",
        "http",
        "8",
        "scrape every 1 s",
        "1",
        "3,000",
        "900",
        "2,500",
        "53.0",
        *compared,
    ] in rows
    assert any(row[0] == traced.subject and row[-1] == "880" for row in rows)
    assert text.endswith("Failed: one thing\n")


def test_rows_stand_in_the_order_of_the_plan_though_every_second_round_ran_backwards() -> None:
    found = [_next_round(SCRAPED), _next_round(QUIET), QUIET, SCRAPED]
    beside = [row[3] for row in _rows(render([], [], [], found, {})) if row[0] == QUIET.subject]
    assert beside == ["no scrape", "scrape every 1 s"]


def test_what_is_recorded_in_turns_with_nothing_counts_nothing() -> None:
    silent = SilentRecorder("null", "1")
    silent.record_load(5)
    assert silent.snapshot().load_ns == 0
    names = {name for name in vars(StatisticsRecorder) if name.startswith("record_")}
    assert names <= set(vars(SilentRecorder))


def test_each_call_is_measured_with_and_without_summaries() -> None:
    found = list(recording_costs(1, 100))
    assert len(found) == len({(one.what, one.batch, one.summaries) for one in found})
    assert {one.batch for one in found if one.what == "record_batch"} == {1, 8, 32}
    assert sum(one.summaries for one in found) * 2 == len(found)


@pytest.mark.slow
def test_recording_can_be_measured_alone(tmp_path: Path) -> None:
    assert main(["--only", "recording", "--rounds", "1", "--requests", "100", "--output", str(tmp_path)]) == 0
    assert "## Recording: whole requests" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "samples.json").read_text())["recording"]


def test_quick_is_quick_but_for_what_is_asked_for() -> None:
    options = read_options(["--quick", "--models", "7"])
    assert (options.rounds, options.models) == (1, 7)
    assert read_options([]).models == 500


def test_the_pages_are_those_of_the_parts_that_are_measured() -> None:
    assert [(page.path, page.gzip) for page in pages(["scrape"])] == [("/metrics", False), ("/metrics", True)]
    assert [page.path for page in pages(["dashboard", "recording"])] == ["/dashboard/data"]


def test_every_rate_has_its_off_in_the_same_server_and_round() -> None:
    cells = list(order(["atoll", "rival"], ["http", "grpc"], [8], 2))
    assert len(cells) == len(set(cells))
    for one in cells:
        assert replace(one, rate=0) in cells
    assert {one.rate for one in cells} == {0, *RATES}
    assert {(one.case.side, one.protocol) for one in cells} == {("atoll", "http"), ("atoll", "grpc"), ("rival", "grpc")}
    first, second = ([one for one in cells if one.round == number] for number in (1, 2))
    assert [(one.server, one.rate) for one in first[:8]] == [(one.server, one.rate) for one in second[7::-1]]


def test_without_the_rival_only_atoll_is_traced() -> None:
    assert {one.case.model for one in order(["atoll"], ["http", "grpc"], [8], 1)} == {"simple"}


def test_servers_start_without_tracing(tmp_path: Path) -> None:
    for mode in ("triton", "opentelemetry"):
        options = arguments(mode, tmp_path, "http://127.0.0.1:1/v1/traces").split()
        assert options[-1] == "--trace-config=level=OFF"
        assert f"--trace-config=mode={mode}" in options
    assert json.loads(setting(0)) == {"trace_level": ["OFF"]}
    assert json.loads(setting(100)) == {"trace_level": ["TIMESTAMPS"], "trace_rate": "100"}


def test_the_rival_gets_no_onnx_model(tmp_path: Path) -> None:
    assert [one.name for one in lay_out("rival", tmp_path / "rival").iterdir()] == ["python_identity"]
    assert sorted(one.name for one in lay_out("atoll", tmp_path / "atoll").iterdir()) == ["python_identity", "simple"]


def _field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def test_spans_are_counted_in_both_forms() -> None:
    scope = _field(1, b"x") + _field(2, b"a span") + _field(2, b"another")
    body = _field(1, _field(1, b"resource") + _field(2, scope) + _field(2, _field(2, b"third")))
    assert spans_in(body) == 3
    spans = [{"spanId": "1"}, {"spanId": "2", "parentSpanId": "1"}]
    assert spans_in(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()) == 2
    assert spans_in(b"") == 0


@pytest.fixture
def receiver() -> Iterator[RunningReceiver]:
    with Receiver(0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield RunningReceiver(0, server.server_address[1])
        server.shutdown()
        thread.join()


def test_the_receiver_takes_traces_and_counts_them(receiver: RunningReceiver) -> None:
    body = _field(1, _field(2, _field(2, b"a span")))
    for data, headers in ((body, {}), (gzip.compress(body), {"Content-Encoding": "gzip"})):
        request = urllib.request.Request(receiver.url, data, {"Content-Type": "application/x-protobuf", **headers})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
    counts = receiver.counts()
    assert counts == Received(posts=2, spans=2)
    assert receiver.counts().since(counts) == Received(0, 0)


@pytest.mark.slow
def test_the_receiver_has_a_process_of_its_own(tmp_path: Path, unused_tcp_port: int) -> None:
    with receiving(unused_tcp_port, tmp_path / "log") as running:
        assert running.counts() == Received(0, 0)
        with pytest.raises(ServerError, match="cannot be had"), receiving(unused_tcp_port, tmp_path / "second"):
            pass
    with pytest.raises(OSError):
        running.counts()


def _server(port: int) -> RunningServer:
    return RunningServer("atoll", None, port, port)  # type: ignore[arg-type]


def test_a_page_is_asked_for_at_once_and_then_in_its_interval(receiver: RunningReceiver) -> None:
    with Poll(_server(receiver.port), Page("/counts", every_s=0.01)) as poll:
        deadline = time.monotonic() + PATIENCE_S
        while len(poll.ms) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    poll.check()
    assert len(poll.ms) >= 3
    assert all(took > 0 for took in poll.ms)


def test_a_page_that_is_not_as_it_was_asked_for_spoils_the_measurement(receiver: RunningReceiver) -> None:
    with (
        PageReader(_server(receiver.port), Page("/counts", 1.0, gzip=True)) as reader,
        pytest.raises(LoadError, match="gzip was asked for"),
    ):
        reader.read()
    with Poll(_server(1), Page("/counts", every_s=0.01)) as poll:
        pass  # it asks before it looks whether it is to stop
    with pytest.raises(LoadError, match="was not answered"):
        poll.check()


def test_answers_are_read_to_their_end() -> None:
    stream = io.BytesIO(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b\r\n\r\nabcHTTP/1.1 503 Busy\r\ncontent-length:0\r\n\r\n"
    )
    assert (read_answer(stream), read_answer(stream)) == (200, 503)
    for wrong in (
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na",
    ):
        with pytest.raises(ValueError):
            read_answer(io.BytesIO(wrong))
