"""What the load generators printed, made into figures: perf_analyzer's CSV, wrk's report, h2load's request log."""

import csv
import io
import json
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


@dataclass(frozen=True)
class Reading:
    """What the client saw: requests answered per second, latency in microseconds."""

    throughput: float
    p50_us: float
    p99_us: float


def parse_perf_analyzer(text: str) -> Reading:
    """The CSV that perf_analyzer's -f writes for one concurrency level."""
    rows = list(csv.DictReader(io.StringIO(text)))
    if len(rows) != 1:
        raise ValueError(f"perf_analyzer's report has {len(rows)} rows, expected one:\n{text}")
    (row,) = rows
    return Reading(float(row["Inferences/Second"]), float(row["p50 latency"]), float(row["p99 latency"]))


def parse_wrk(text: str) -> Reading:
    """The report of `wrk --latency`. Answers that are not 2xx, and socket errors, are refused: they would look fast."""
    errors = re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", text)
    if errors:
        raise ValueError(f"wrk saw failing requests: {errors[0]}")
    rate = re.search(r"^Requests/sec:\s+([\d.]+)$", text, re.MULTILINE)
    if not rate:
        raise ValueError(f"this is no report of wrk:\n{text}")
    return Reading(float(rate[1]), _wrk_percentile(text, "50"), _wrk_percentile(text, "99"))


def _wrk_percentile(text: str, percent: str) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"wrk's report has no {percent}th percentile (was --latency given?):\n{text}")
    return float(found[1]) * _MICROSECONDS[found[2]]


def parse_h2load(log: Iterable[str]) -> Reading:
    """h2load's --log-file: per request its start (us since the epoch), HTTP status (-1: failed) and duration (us).

    A gRPC error travels under HTTP status 200, so the caller has to ask the server how many requests failed.
    """
    ends: list[int] = []
    latencies: list[int] = []
    for line in log:
        start, status, duration = (int(field) for field in line.split()[:3])
        if status != 200:
            raise ValueError(f"h2load saw a request fail with HTTP status {status}")
        ends.append(start + duration)
        latencies.append(duration)
    latencies.sort()
    return Reading(completion_rate(ends) * 1e6, percentile(latencies, 50), percentile(latencies, 99))


def parse_profile(text: str) -> list[int]:
    """When each request was completed, in ns since the epoch: perf_analyzer's --profile-export-file, one experiment."""
    (experiment,) = json.loads(text)["experiments"]
    return [request["response_timestamps"][-1] for request in experiment["requests"]]


def completion_rate(times: Iterable[int]) -> float:
    """Completions per unit of time: the slope of the straight line through the count of completions over time.

    The answers of a batch arrive together. A window that opens and shuts anywhere counts a whole batch too few or too
    many (with batches of 0.3 s and a window of 5 s, 6%); the line weighs all batches, and knows no window.
    """
    ordered = sorted(times)
    if not ordered or ordered[0] == ordered[-1]:
        raise ValueError("fewer than two batches of requests were completed; give it more --seconds")
    # Counted from the first, because nanoseconds since the epoch have more digits than a float.
    return statistics.linear_regression([time - ordered[0] for time in ordered], range(len(ordered))).slope


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed (nearest rank); `ordered` ascends and is not empty."""
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]
