"""What the load generators print is read as it is printed."""

import json

import pytest
from benchmarks.readings import (
    Reading,
    completion_rate,
    parse_h2load,
    parse_perf_analyzer,
    parse_profile,
    parse_wrk,
    percentile,
)
from hypothesis import given
from hypothesis import strategies as st

PERF_ANALYZER = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,"
    "Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency\n"
    "32,3941.89,119,2740,2270,352,1564,1056,0,7562,11299,12761,16629\n"
)

WRK = """\
Running 1s test @ http://127.0.0.1:9200/v2/models/simple/infer
  2 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.41ms    1.19ms  22.73ms   93.36%
    Req/Sec     3.19k   589.64     3.89k    70.00%
  Latency Distribution
     50%    1.21ms
     75%    1.60ms
     90%  980.00us
     99%    1.04s
  6360 requests in 1.00s, 1.87MB read
Requests/sec:   6353.11
Transfer/sec:      1.87MB
"""


def test_perf_analyzer_report() -> None:
    assert parse_perf_analyzer(PERF_ANALYZER) == Reading(throughput=3941.89, p50_us=7562, p99_us=16629)


def test_perf_analyzer_report_of_several_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="2 rows"):
        parse_perf_analyzer(PERF_ANALYZER + PERF_ANALYZER.splitlines()[1] + "\n")


def test_perf_analyzer_report_without_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="0 rows"):
        parse_perf_analyzer(PERF_ANALYZER.splitlines()[0])


def test_wrk_report_with_its_changing_units() -> None:
    reading = parse_wrk(WRK)
    assert reading.throughput == 6353.11
    assert (reading.p50_us, reading.p99_us) == pytest.approx((1210, 1_040_000))


@pytest.mark.parametrize(
    "complaint", ["  Non-2xx or 3xx responses: 12\n", "  Socket errors: connect 0, read 3, write 0, timeout 0\n"]
)
def test_wrk_report_of_failing_requests_is_refused(complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.strip()):
        parse_wrk(WRK + complaint)


def test_wrk_report_without_percentiles_is_refused() -> None:
    with pytest.raises(ValueError, match="--latency"):
        parse_wrk("Requests/sec:   6353.11\n")


def test_h2load_log() -> None:
    log = ["1000000\t200\t100\n", "1000100\t200\t300\n", "1000500\t200\t200\n"]
    # Completions at 1000100, 1000400 and 1000700 us.
    reading = parse_h2load(log)
    assert reading.throughput == pytest.approx(1e6 / 300)
    assert (reading.p50_us, reading.p99_us) == (200, 300)


def test_h2load_log_with_a_failed_request_is_refused() -> None:
    with pytest.raises(ValueError, match="status -1"):
        parse_h2load(["1000000\t200\t100\n", "1000100\t-1\t300\n"])


def test_h2load_log_of_one_request_has_no_rate() -> None:
    with pytest.raises(ValueError, match="more --seconds"):
        parse_h2load(["1000000\t200\t100\n"])


def test_profile_says_when_each_request_was_completed() -> None:
    requests = [{"timestamp": 5, "response_timestamps": [7, 9]}, {"timestamp": 6, "response_timestamps": [8]}]
    experiment = {"experiment": {"mode": "concurrency", "value": 2}, "requests": requests, "window_boundaries": [1, 9]}
    assert parse_profile(json.dumps({"experiments": [experiment], "version": "2.40.0"})) == [9, 8]


@given(rows=st.integers(1, 32), batches=st.integers(2, 40), period=st.integers(1, 10**9))
def test_rate_of_equal_batches_is_rows_by_period_wherever_the_record_ends(rows: int, batches: int, period: int) -> None:
    epoch = 1_795_226_381_757_352_899
    times = [epoch + number * period for number in range(batches) for _ in range(rows)]
    assert completion_rate(reversed(times)) == pytest.approx(rows / period)


def test_answers_that_all_came_at_once_have_no_rate() -> None:
    for times in ([], [5, 5, 5]):
        with pytest.raises(ValueError, match="more --seconds"):
            completion_rate(times)


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert found in ordered
    assert sum(value <= found for value in ordered) * 100 >= len(ordered) * percent
    assert sum(value < found for value in ordered) * 100 < len(ordered) * percent
