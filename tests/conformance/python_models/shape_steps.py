"""What is asked about shapes: those that a model sees for those that its clients send, and which run together."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.conformance.python_models.steps import AnyStep, Session, Step, around
from tests.conformance.questions import Question
from tests.conformance.record import as_record
from tests.conformance.repository_questions import post

Shape = tuple[int, ...]


def steps() -> dict[str, list[AnyStep]]:
    reshaped = [
        _question("one item", "reshaped", [1, 3, 4]),
        _question("two items", "reshaped", [2, 1, 4]),
        _question("none of the variable dimension", "reshaped", [1, 0, 4]),
        _question("the model's own shape", "reshaped", [1, 3, 2, 2]),
        _question("an output of another size", "reshaped", [1, 3, 4], value=-1.0),
    ]
    ragged = [
        _at_once("of different lengths", [{"INPUT0": (1, length)} for length in (3, 1, 0, 7)]),
        _at_once("of several items", [{"INPUT0": (2, 3)}, {"INPUT0": (1, 1)}, {"INPUT0": (1, 2)}]),
        _at_once("with the optional one", [{"INPUT0": (1, n), "INPUT1": (1, n, 2)} for n in (4, 2, 5, 1)]),
    ]
    return {"reshaped": list(around("reshaped", reshaped)), "ragged": list(around("ragged", ragged))}


def _question(name: str, model: str, shape: list[int], value: float = 1.0) -> Question:
    data = [value] * math.prod(shape)
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": shape, "data": data}
    return post(f"{name}: {model}", f"/v2/models/{model}/infer", {"inputs": [tensor]})


def _at_once(name: str, requests: list[dict[str, Shape]]) -> Step:
    """The answers to requests that together make the preferred batch, in the order of the requests."""

    def act(session: Session) -> Any:
        def ask(inputs: dict[str, Shape]) -> Any:
            tensors = [
                {"name": one, "datatype": "FP32", "shape": list(shape), "data": [1.0] * math.prod(shape)}
                for one, shape in inputs.items()
            ]
            body = json.dumps({"inputs": tensors}).encode()
            return as_record(session.server.exchange("POST", "/v2/models/ragged/infer", body=body))

        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(ask, requests))

    return Step(f"{name}: ragged", act)
