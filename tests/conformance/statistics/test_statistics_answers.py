"""What Atoll counts, compared with what the real server was seen to count; and where it counts otherwise, and why."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conformance.asking_again import ask_again, skip_unless_all_is_asked
from tests.conformance.process import start_atoll
from tests.conformance.recording import read_record
from tests.conformance.statistics.counting import Counting
from tests.conformance.statistics.record_statistics import OPTIONS, record
from tests.conformance.statistics.scenarios import SCENARIOS, examine, without_memory
from tests.conformance.statistics.statistics_repository import write_counted

RECORDED = read_record("statistics")

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Otherwise:
    """Where Atoll counts other numbers: `ours` by what was done before, and by model. `success` stands for all that is
    counted once for each request that succeeded; `responses` for response_stats, of each place the counts that are not
    0; `metrics`: the counters at the scenario's end.
    """

    why: str
    ours: Mapping[str, Mapping[str, Numbers]]
    metrics: Mapping[str, Numbers]


_ERRORS = "A request whose response is an error has failed; to the real server it is a success."
_RESPONSES = "The real server's Python backend does not count responses (other backends do)."
_TWICE = "The real server counts a failed request to an ensemble twice."


def _places(*places: Mapping[str, int]) -> list[Mapping[str, int]]:
    return list(places)


_GOOD = {"compute_infer": 1, "compute_output": 1, "success": 1}
_BAD = {"compute_infer": 1, "fail": 1}
_BOTH = {"compute_infer": 2, "compute_output": 1, "success": 1, "fail": 1}

OTHERWISE = {
    "failures": Otherwise(
        _ERRORS,
        {
            "alone": {"failing": {"success": 1, "fail": 2, "inference_count": 1}},
            "in batches": {"failing": {"success": 4, "fail": 3, "inference_count": 6}},
        },
        {
            "failing": {
                "nv_inference_request_success 1": 4,
                "nv_inference_request_failure 1 BACKEND": 3,
                "nv_inference_count 1": 6,
            }
        },
    ),
    "many responses": Otherwise(
        _RESPONSES,
        {
            "after": {
                "many": {
                    "responses": _places(
                        {"compute_infer": 3, "compute_output": 3, "success": 3, "empty_response": 1},
                        {**_GOOD, "empty_response": 1},
                        _GOOD,
                    )
                }
            }
        },
        {},
    ),
    "many responses, failures": Otherwise(
        f"{_ERRORS} {_RESPONSES}",
        {
            "responses": {
                "many_fail": {
                    "success": 1,
                    "fail": 1,
                    "inference_count": 1,
                    "responses": _places(_BOTH, _BOTH),
                }
            },
            "raised": {
                "many_fail": {
                    "success": 1,
                    "fail": 2,
                    "inference_count": 1,
                    "responses": _places(
                        {"compute_infer": 3, "compute_output": 2, "success": 2, "fail": 1},
                        {"compute_infer": 3, "compute_output": 1, "success": 1, "fail": 2},
                    ),
                }
            },
        },
        {
            "many_fail": {
                "nv_inference_request_success 1": 1,
                "nv_inference_request_failure 1 BACKEND": 2,
                "nv_inference_count 1": 1,
            }
        },
    ),
    "many responses, cancelled": Otherwise(
        _RESPONSES,
        {
            key: {"many_cancelled": {"responses": _places(_GOOD, {"empty_response": 1})}}
            for key in ("cancelled", "after")
        },
        {},
    ),
    "hits and misses": Otherwise(
        _ERRORS,
        {"after": {"cached": {"success": 4, "fail": 1, "inference_count": 2}}},
        {
            "cached": {
                "nv_inference_request_success 1": 4,
                "nv_inference_request_failure 1 BACKEND": 1,
                "nv_inference_count 1": 2,
            }
        },
    ),
    "cancelled in the queue": Otherwise(
        "What was cancelled while it waited is not executed; the real server has put the next request before the busy "
        "instance already, and executes it.",
        {"after": {"cancelled": {"success": 2, "fail": 2, "inference_count": 2, "execution_count": 2, "batch": 2}}},
        {
            "cancelled": {
                "nv_inference_request_success 1": 2,
                "nv_inference_request_failure 1 CANCELED": 2,
                "nv_inference_count 1": 2,
                "nv_inference_exec_count 1": 2,
            }
        },
    ),
    "loaded again": Otherwise(
        "What is served as it should be is not loaded again, and goes on counting; the real server loads it. On its "
        "metrics page the counters of a model outlive a reload, in its statistics they do not; here both begin anew.",
        {"loaded twice": {"again": {"success": 2, "inference_count": 2, "execution_count": 2, "batch": 2}}},
        {
            "again": {
                "nv_inference_request_success 1": 1,
                "nv_inference_count 1": 1,
                "nv_inference_exec_count 1": 1,
            }
        },
    ),
    "an ensemble": Otherwise(
        f"{_TWICE} {_ERRORS}",
        {"after": {"chain": {"fail": 1}, "step": {"success": 4, "fail": 1, "inference_count": 8}}},
        {
            "chain": {"nv_inference_request_failure 1 OTHER": 1},
            "step": {
                "nv_inference_request_success 1": 4,
                "nv_inference_request_failure 1 BACKEND": 1,
                "nv_inference_count 1": 8,
            },
        },
    ),
    "an ensemble of many responses": Otherwise(
        f"{_TWICE} {_ERRORS} {_RESPONSES}",
        {
            "after": {
                "chain_many": {"fail": 1},
                "step_many": {
                    "success": 2,
                    "fail": 1,
                    "inference_count": 2,
                    "responses": _places(
                        {"compute_infer": 3, "compute_output": 3, "success": 3},
                        {"compute_infer": 2, "compute_output": 1, "success": 1, "fail": 1, "empty_response": 1},
                    ),
                },
            }
        },
        {
            "chain_many": {"nv_inference_request_failure 1 OTHER": 1},
            "step_many": {
                "nv_inference_request_success 1": 2,
                "nv_inference_request_failure 1 BACKEND": 1,
                "nv_inference_count 1": 2,
            },
        },
    ),
}


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    folder = tmp_path_factory.mktemp("counting")
    repository = write_counted(folder / "models")
    with (
        start_atoll(repository, folder / "log", *OPTIONS) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        yield Counting(server, channel, repository)


def test_each_scenario_has_one_record() -> None:
    assert list(RECORDED) == list(SCENARIOS)
    assert OTHERWISE.keys() <= SCENARIOS.keys()


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_is_counted(counting: Counting, name: str) -> None:
    expected = _expected(name)
    assert (expected == RECORDED[name]) is (name not in OTHERWISE)
    found = examine(counting, name)
    assert without_memory(found) == expected  # of Python models the real server says nothing about memory


@pytest.mark.slow
def test_the_real_server_still_counts_so(tmp_path: Path) -> None:
    skip_unless_all_is_asked()
    assert ask_again(record, tmp_path) == RECORDED


def _expected(name: str) -> dict[str, Any]:
    """The record, with the numbers in which Atoll differs in place of the real server's."""
    document: dict[str, Any] = copy.deepcopy(RECORDED[name])
    if name in OTHERWISE:
        for key, models in OTHERWISE[name].ours.items():
            for model, numbers in models.items():
                (one,) = document[key][model]
                _put(one, numbers)
        for model, counters in OTHERWISE[name].metrics.items():
            document["metrics"][model].update(counters)
    return document


def _put(one: dict[str, Any], numbers: Numbers) -> None:
    stats = one["inference_stats"]
    for kind, number in numbers.items():
        if kind == "success":
            stats["success"]["count"] = stats["queue"]["count"] = number
            for part in ("compute_input", "compute_infer", "compute_output"):
                stats[part]["count"] = number - stats["cache_hit"]["count"]
        elif kind == "fail":
            stats["fail"] = {"count": number, "ns": "some"}
        elif kind == "responses":
            one["response_stats"] = {str(place): _responses(counted) for place, counted in enumerate(number)}
        elif kind == "batch":
            for part in ("compute_input", "compute_infer", "compute_output"):
                one["batch_stats"][0][part]["count"] = number
        else:
            one[kind] = number


def _responses(counted: Mapping[str, int]) -> dict[str, Any]:
    kinds = ("compute_infer", "compute_output", "success", "fail", "empty_response", "cancel")
    found: dict[str, Any] = {}
    for kind in kinds:
        count = counted.get(kind, 0)
        found[kind] = {"count": count} if kind == "compute_output" else {"count": count, "ns": "some" if count else 0}
    return found
