"""What is done to a server of Python models, one step after the other, and what is written down of its answers."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tests.conformance import grpc_questions
from tests.conformance.comparing import normal
from tests.conformance.process import ServerProcess
from tests.conformance.questions import Question
from tests.conformance.record import as_record
from tests.conformance.repository_questions import load, post, rpc, unload
from tritonclient.grpc import service_pb2 as pb

SETTLED_S = 20.0
HANGS_S = 30.0
LOG_S = 10.0


@dataclass(frozen=True)
class Session:
    """A server, a channel to it, and the folder of its models."""

    server: ServerProcess
    channel: grpc.Channel
    repository: Path


@dataclass(frozen=True)
class Step:
    """Something that is not one question on the wire; its answer is a document."""

    name: str
    act: Callable[[Session], Any]


AnyStep = Question | grpc_questions.Question | Step


def take(session: Session, step: AnyStep) -> Any:
    """The answer, with the models' folder taken out of it."""
    if isinstance(step, Step):
        found = step.act(session)
    elif isinstance(step, Question):
        found = _http(session.server, step)
    else:
        found = normal(grpc_questions.ask(session.channel, step))
    return _without_folder(found, str(session.repository))


def _http(server: ServerProcess, question: Question) -> dict[str, Any]:
    try:
        answer = server.exchange(
            question.method, question.path, body=question.body, headers=question.headers, timeout_s=HANGS_S
        )
    except TimeoutError:
        return {"status": "none in time"}
    return as_record(answer)


def infer(name: str, model: str, values: Sequence[float] = (1.0, 2.0), **members: Any) -> Question:
    """Over HTTP, in JSON: INPUT0 of FP32. `members` go into the request."""
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [len(values)], "data": list(values)}
    return post(f"{name}: {model} over HTTP", f"/v2/models/{model}/infer", {"inputs": [tensor], **members})


def request(model: str, values: Sequence[float] = (1.0, 2.0), **members: Any) -> pb.ModelInferRequest:
    """The same for gRPC."""
    array = np.array(values, "<f4")
    tensor = pb.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="FP32", shape=list(array.shape))
    raw = [array.tobytes()]
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=raw, **members)


def call(name: str, model: str, values: Sequence[float] = (1.0, 2.0), **members: Any) -> grpc_questions.Question:
    return rpc(f"{name}: {model}", "ModelInfer", request(model, values, **members))


def stream(name: str, *messages: pb.ModelInferRequest) -> grpc_questions.Question:
    return grpc_questions.Question(f"{name}: stream to {messages[0].model_name}", "ModelStreamInfer", messages)


def state_of(name: str, model: str) -> Step:
    """What the index says of the model, and whether it is ready."""

    def act(session: Session) -> Any:
        index = session.server.exchange("POST", "/v2/repository/index").json()
        ready = session.server.exchange("GET", f"/v2/models/{model}/ready").status
        return {"index": [entry for entry in index if entry["name"] == model], "ready": ready}

    return Step(f"{name}: state of {model}", act)


def settled(model: str) -> Step:
    """Whether the model gets to be neither loading nor unloading."""

    def act(session: Session) -> Any:
        deadline = time.monotonic() + SETTLED_S
        while True:
            index = session.server.exchange("POST", "/v2/repository/index").json()
            if not any(entry["name"] == model and entry.get("state", "").endswith("ING") for entry in index):
                return {"settled": True}
            if time.monotonic() > deadline:
                return {"settled": False}
            time.sleep(0.02)

    return Step(f"{model} has settled", act)


def logged(name: str, *texts: str) -> Step:
    """Which of these texts stand in the log, waiting a while for the first one that does not."""

    def act(session: Session) -> Any:
        deadline = time.monotonic() + LOG_S
        while not all(text in session.server.log_text() for text in texts) and time.monotonic() < deadline:
            time.sleep(0.05)
        log = session.server.log_text()
        return {text: text in log for text in texts}

    return Step(f"{name}: the log", act)


def around(model: str, steps: Iterable[AnyStep], after: Iterable[AnyStep] = ()) -> Iterator[AnyStep]:
    """Loads the model, takes the steps, unloads it, and looks at what that has left."""
    yield load("first", model)
    yield from steps
    yield unload("last", model)
    yield settled(model)
    yield from after


def _without_folder(value: Any, folder: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_folder(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folder(item, folder) for item in value]
    return re.sub(re.escape(folder), "/models", value) if isinstance(value, str) else value
