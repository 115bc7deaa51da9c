"""What is asked about sequences: of models that answer with what they see of a batch, and of iterative ones."""

import time
from collections.abc import Iterator
from typing import Any

from tests.conformance.python_models.steps import AnyStep, Session, Step, around, request, stream
from tests.conformance.questions import Question
from tests.conformance.repository_questions import post

FORGOTTEN_S = 2.0  # several times the idle time of `forgetful`


def steps() -> dict[str, list[AnyStep]]:
    found = {}
    for title, model, asked in (
        ("sequences in slots", "slots", _slots()),
        ("candidate sequences", "candidates", _candidates()),
        ("idle sequences", "forgetful", _idle()),
        ("rescheduling with ids", "iterate", _iterative()),
        ("a stream of sequences", "accumulate", _streamed()),
    ):
        found[title] = list(around(model, asked))
    return found


def _ask(
    name: str, model: str, correlation_id: object = None, flags: str = "", *, rows: int = 1, **parameters: Any
) -> Question:
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [rows, 1], "data": [1.0] * rows}
    if correlation_id is not None:
        parameters["sequence_id"] = correlation_id
    if "S" in flags:
        parameters["sequence_start"] = True
    if "E" in flags:
        parameters["sequence_end"] = True
    return post(name, f"/v2/models/{model}/infer", {"id": name, "inputs": [tensor], "parameters": parameters})


def _slots() -> Iterator[AnyStep]:
    yield from _errors("slots")
    yield _ask("start 1", "slots", 1, "S")
    yield _ask("start 2", "slots", 2, "S")
    yield _ask("2 goes on", "slots", 2)
    yield _ask("start 3", "slots", 3, "S")
    yield _ask("3 goes on", "slots", 3)
    yield _ask("no slot in time", "slots", 4, "S", timeout=100_000)
    yield _ask("what had no slot goes on", "slots", 4)
    yield _ask("2 ends", "slots", 2, "E")
    yield _ask("2 goes on after its end", "slots", 2)
    yield _ask("the whole of 5", "slots", 5, "SE")
    yield _ask("start 6 in a free slot", "slots", 6, "S", timeout=1)
    yield _ask("3 starts anew", "slots", 3, "S")
    yield _ask("3 ends", "slots", 3, "E")
    yield _ask("1 ends", "slots", 1, "E")
    yield _ask("6 ends, the largest id starts", "slots", 6, "E")
    yield _ask("the largest id", "slots", (1 << 64) - 1, "SE")
    yield _statistics("slots")


def _errors(model: str) -> Iterator[AnyStep]:
    for title, correlation_id in (("none", None), ("zero", 0), ("an empty text", "")):
        for flags in ("", "S"):
            yield _ask(f"the id is {title}, flags '{flags}'", model, correlation_id, flags)
    yield _ask("unknown", model, 7)
    yield _ask("unknown ends", model, 7, "E")
    yield _ask("unknown text", model, "seven")
    yield _ask("a batch", model, 7, "S", rows=2)
    yield _ask("a batch without an id", model, rows=2)
    yield _ask("too long a text", model, "x" * 129, "S")
    yield _ask("a negative id", model, -1, "S")
    yield _ask("a fraction", model, 1.5, "S")
    yield _ask("a list", model, [1], "S")
    yield _ask("a start that is a number", model, 7, sequence_start=1)
    yield _ask("an end that is a text", model, 7, sequence_end="true")


def _candidates() -> Iterator[AnyStep]:
    yield from _errors("candidates")
    yield _ask("start 1", "candidates", 1, "S")
    yield _ask("start -1 of 32 bits", "candidates", (1 << 32) - 1, "S")
    yield _ask("no slot in time", "candidates", 4, "S", timeout=100_000)
    yield _ask("1 ends", "candidates", 1, "E")
    yield _ask("start 4", "candidates", 4, "S")
    yield _ask("4 goes on", "candidates", 4)
    yield _statistics("candidates")


def _statistics(model: str) -> Step:
    def act(session: Session) -> Any:
        [one] = session.server.exchange("GET", f"/v2/models/{model}/stats").json()["model_stats"]
        counts = {name: one["inference_stats"][name]["count"] for name in ("success", "fail", "queue", "cache_hit")}
        sizes = {str(entry["batch_size"]): entry["compute_infer"]["count"] for entry in one["batch_stats"]}
        return {"inferences": one["inference_count"], "executions": one["execution_count"], **counts, "sizes": sizes}

    return Step(f"statistics of {model}", act)


def _idle() -> Iterator[AnyStep]:
    yield _ask("start 1", "forgetful", 1, "S")
    yield _ask("2 has the slot when 1 has idled out", "forgetful", 2, "S")
    yield _ask("1 goes on", "forgetful", 1)
    yield Step("nothing for a while", lambda _: time.sleep(FORGOTTEN_S))
    yield _ask("2 goes on", "forgetful", 2)
    yield _ask("start 2 again", "forgetful", 2, "SE")


def _iterative() -> Iterator[AnyStep]:
    yield _ask("an id without a start", "iterate", 9)
    yield _ask("an id", "iterate", 9, "S")
    yield _ask("it was over with its request", "iterate", 9)
    yield _ask("it starts again", "iterate", 9, "S")
    yield _ask("an end", "iterate", 9, "SE")
    yield _ask("a batch", "iterate", rows=2)


def _streamed() -> Iterator[AnyStep]:
    """Requests of one stream that do not wait for each other's answers keep their order within a sequence."""
    messages = []
    for number in range(1, 9):
        message = request("accumulate", [float(number)], id=str(number))
        message.inputs[0].shape[:] = [1, 1]
        message.parameters["sequence_id"].int64_param = 5
        message.parameters["sequence_start"].bool_param = number == 1
        message.parameters["sequence_end"].bool_param = number == 8
        messages.append(message)
    yield stream("one sequence", *messages)
    without = request("accumulate", [1.0])
    without.inputs[0].shape[:] = [1, 1]
    yield stream("no id", without)
