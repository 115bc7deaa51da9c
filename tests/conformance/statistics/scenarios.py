"""What is done to models, and what both servers count of it. Each scenario has models of its own."""

import time
from collections.abc import Callable
from typing import Any

from tests.conformance.statistics.counting import SETTLED_S, Counting, ended, kind_of
from tests.conformance.statistics.statistics_repository import ENDS_EMPTY, FAILS, RAISES, WAITS
from tritonclient.grpc import service_pb2 as pb

Scenario = Callable[[Counting], dict[str, Any]]
"""Sends the requests; returns how they ended, and the statistics of the models by what was done before."""


def _inputs(data_type: str = "INT32", name: str = "INPUT0", shape: tuple[int, ...] = (1, 1)) -> dict[str, Any]:
    return {"inputs": [{"name": name, "datatype": data_type, "shape": list(shape), "data": [1]}]}


def _plain(on: Counting) -> dict[str, Any]:
    before = on.settled("plain")
    ends = [on.ask("plain", 1, rows=0), on.ask("plain", 1, 2, 3, rows=0), on.post("plain", _inputs(shape=(1,)))]
    return {"ends": ends, "before": before, "after": on.settled("plain")}


def _versions(on: Counting) -> dict[str, Any]:
    ends = [on.ask("versions", 1, rows=0, fields={"model_version": version}) for version in ("1", "3", "3", "", "2")]
    return {"ends": ends, "after": on.settled("versions")}


def _sized(on: Counting) -> dict[str, Any]:
    ends = [on.ask("sized", 1, rows=rows) for rows in (1, 2, 2, 8, 9)]
    return {"ends": ends, "after": on.settled("sized")}


def _batched(on: Counting) -> dict[str, Any]:
    with on.closed("batched") as wait_entered:
        futures = [on.send("batched", 1)]
        wait_entered()
        for waiting, rows in enumerate((2, 3, 3, 5), start=1):
            futures.append(on.send("batched", 1, rows=rows))
            on.wait_pending("batched", waiting)
    return {"ends": [ended(one) for one in futures], "after": on.settled("batched")}


def _failing(on: Counting) -> dict[str, Any]:
    ends = [on.ask("failing", FAILS), on.ask("failing", RAISES), on.ask("failing", 1)]
    alone = on.settled("failing")
    with on.closed("failing") as wait_entered:
        futures = [on.send("failing", 1)]
        wait_entered()
        for waiting, number in enumerate((1, FAILS, 1), start=1):
            futures.append(on.send("failing", number, rows=2))
            on.wait_pending("failing", waiting)
    ends += [ended(one) for one in futures]
    return {"ends": ends, "alone": alone, "in batches": on.settled("failing")}


def _many(on: Counting) -> dict[str, Any]:
    streams = [on.stream("many", 1), on.stream("many", 1, 2, 3), on.stream("many", 1, ENDS_EMPTY)]
    streams.append(on.stream("many", ENDS_EMPTY))
    return {"ends": streams, "after": on.settled("many")}


def _many_fail(on: Counting) -> dict[str, Any]:
    streams = [on.stream("many_fail", 1, FAILS), on.stream("many_fail", FAILS, 1)]
    responses = on.settled("many_fail")
    streams.append(on.stream("many_fail", 1, RAISES))
    return {"ends": streams, "responses": responses, "raised": on.settled("many_fail")}


def _many_cancelled(on: Counting) -> dict[str, Any]:
    with on.closed("many_cancelled"):
        call = on.open_stream("many_cancelled", 1, WAITS, ENDS_EMPTY)
        first = kind_of(next(call))
        call.cancel()
        on.wait_pending("many_cancelled", 0)
        found = on.settled("many_cancelled")
    return {"ends": [first], "cancelled": found, "after": on.settled("many_cancelled")}


def _cached(on: Counting) -> dict[str, Any]:
    ends = [on.ask("cached", number) for number in (1, 1, 2, 1, FAILS)]
    return {"ends": ends, "after": on.settled("cached")}


def _full_queue(on: Counting) -> dict[str, Any]:
    with on.closed("full_queue") as wait_entered:
        running = on.send("full_queue", 1)
        wait_entered()
        waiting = [on.send("full_queue", 1)]
        # the real server may give a busy instance its next batch, which then does not wait in the queue
        refused = ""
        while not refused and len(waiting) < 5:
            one = on.send("full_queue", 1)
            if _is_refused(one):
                refused = ended(one)
            else:
                waiting.append(one)
    return {"ends": [ended(running), ended(waiting[0]), refused], "after": on.settled("full_queue")}


def _is_refused(future: Any) -> bool:
    try:
        future.exception(timeout=1.0)
    except Exception:
        return False
    return True


def _timed_queue(on: Counting) -> dict[str, Any]:
    with on.closed("timed_queue") as wait_entered:
        running = on.send("timed_queue", 1)
        wait_entered()
        late = on.send("timed_queue", 1, fields={"parameters": {"timeout": pb.InferParameter(int64_param=1)}})
        late_too = on.send("timed_queue", 1)
        _is_refused(late_too)
    return {"ends": [ended(one) for one in (running, late, late_too)], "after": on.settled("timed_queue")}


def _cancelled(on: Counting) -> dict[str, Any]:
    with on.closed("cancelled") as wait_entered:
        running, waiting = on.send("cancelled", 1), []
        wait_entered()
        for count in (1, 2, 3):
            waiting.append(on.send("cancelled", 1))
            on.wait_pending("cancelled", count)
        waiting[0].cancel()
        waiting[2].cancel()
        running.cancel()
        time.sleep(SETTLED_S)  # until the server has heard of it
    ends = [ended(one) for one in (running, *waiting)]
    return {"ends": ends, "after": on.settled("cancelled")}


def _door(on: Counting) -> dict[str, Any]:
    documents = (
        *(_inputs("FP32"), _inputs(name="NOPE"), _inputs(shape=(1, 1, 1)), _inputs(shape=(9, 1)), {"inputs": []}),
        *(b"{", {**_inputs(), "outputs": [{"name": "NOPE"}]}, {**_inputs(), "parameters": {"priority": -1}}),
    )
    ends: list[Any] = [on.post("door", one) for one in documents]
    ends.append(on.ask("door", 1, rows=9))
    return {"ends": ends, "after": on.settled("door")}


def _warm(on: Counting) -> dict[str, Any]:
    return {"ends": [], "before": on.settled("warm"), "ends after": [on.ask("warm", 1)], "after": on.settled("warm")}


def _again(on: Counting) -> dict[str, Any]:
    ends = [on.ask("again", 1, rows=0), on.load("again"), on.ask("again", 1, rows=0)]
    loaded_twice = on.settled("again")
    ends.append(on.unload("again"))
    gone = on.server.exchange("GET", "/v2/models/again/stats").json()
    ends += [on.ask("again", 1, rows=0), on.load("again")]
    anew = on.settled("again")
    ends.append(on.ask("again", 1, rows=0))
    on.change("again")
    ends += [on.load("again"), on.ask("again", 1, rows=0)]
    found = {"loaded twice": loaded_twice, "anew": anew, "changed": on.settled("again")}
    return {"ends": ends, "ends when it is gone": gone, **found}


def _sequence(model: str) -> Scenario:
    def scenario(on: Counting) -> dict[str, Any]:
        def step(start: bool, end: bool, sequence: int) -> str:
            parameters = {
                "sequence_id": pb.InferParameter(int64_param=sequence),
                "sequence_start": pb.InferParameter(bool_param=start),
                "sequence_end": pb.InferParameter(bool_param=end),
            }
            return on.ask(model, 1, fields={"parameters": parameters})

        ends = [step(True, False, 7), step(False, False, 7), step(False, True, 7)]
        ends += [step(False, False, 8), step(True, True, 0)]
        return {"ends": ends, "after": on.settled(model)}

    return scenario


def _chain(on: Counting) -> dict[str, Any]:
    ends = [on.ask("chain", 1), on.ask("chain", 1, rows=3), on.ask("chain", FAILS), on.ask("chain", 1, rows=9)]
    return {"ends": ends, "after": on.settled("chain", "step")}


def _chain_cached(on: Counting) -> dict[str, Any]:
    ends = [on.ask("chain_cached", number) for number in (5, 5, 6)]
    return {"ends": ends, "after": on.settled("chain_cached")}


def _chain_many(on: Counting) -> dict[str, Any]:
    streams = [on.stream("chain_many", 1, 2), on.stream("chain_many", 1, ENDS_EMPTY), on.stream("chain_many", 1, FAILS)]
    return {"ends": streams, "after": on.settled("chain_many", "step_many")}


SCENARIOS: dict[str, Scenario] = {
    "requests one by one": _plain,
    "versions": _versions,
    "rows": _sized,
    "batches": _batched,
    "failures": _failing,
    "many responses": _many,
    "many responses, failures": _many_fail,
    "many responses, cancelled": _many_cancelled,
    "hits and misses": _cached,
    "a full queue": _full_queue,
    "too late in the queue": _timed_queue,
    "cancelled in the queue": _cancelled,
    "refused at the door": _door,
    "warm-up": _warm,
    "loaded again": _again,
    "sequences, direct": _sequence("direct"),
    "sequences, oldest": _sequence("oldest"),
    "an ensemble": _chain,
    "an ensemble's hits": _chain_cached,
    "an ensemble of many responses": _chain_many,
}


def examine(on: Counting, name: str) -> dict[str, Any]:
    """How the scenario's requests ended, and what was counted; at its end the metrics, and whether both forms of the
    statistics are the same.
    """
    found = SCENARIOS[name](on)
    models = sorted({model for key, value in found.items() if not key.startswith("ends") for model in value})
    by_key = {key: value if key.startswith("ends") else counts(value) for key, value in found.items()}
    same = all(without_memory(on.document(model)) == without_memory(on.message(model)) for model in models)
    return {**by_key, "metrics": {model: on.metrics(model) for model in models}, "forms agree": same}


def without_memory(value: Any) -> Any:
    """Statistics without how much memory there is: that changes from one moment to the next."""
    if isinstance(value, list):
        return [without_memory(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: [] if key == "memory_usage" else without_memory(item) for key, item in value.items()}


def counts(value: Any) -> Any:
    """Statistics with "some" in the place of each number of nanoseconds or moment that is not 0. How long input and
    output took is left out: that may be nothing.
    """
    if isinstance(value, list):
        return [counts(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {"count": item["count"]}
        if key in ("compute_input", "compute_output")
        else ("some" if item else 0)
        if key in ("ns", "last_inference")
        else counts(item)
        for key, item in value.items()
    }
