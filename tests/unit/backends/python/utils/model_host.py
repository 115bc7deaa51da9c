"""A host that answers from the test, and deliveries that note what they are given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from atoll.backends.python.utils import InferenceRequest, InferenceResponse, Tensor
from atoll.tensor import Tensor as Inner

Receive = Callable[[InferenceResponse | None, bool], None]
Answer = Callable[[InferenceRequest, Receive], None]


def floats(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.float32)


def request_to(model_name: str = "other", **arguments: Any) -> InferenceRequest:
    """A request to another model."""
    given: dict[str, Any] = {"inputs": [Tensor("INPUT", floats(1, 2))], "requested_output_names": ["OUTPUT"]}
    return InferenceRequest(model_name=model_name, **(given | arguments))


def received(delivery: RecordedDelivery, host: Any = None, **arguments: Any) -> InferenceRequest:
    """A request as a model gets it."""
    inputs = [Inner.from_numpy("INPUT", floats(1, 2))]
    return InferenceRequest.received(inputs, delivery=delivery, host=host, **arguments)


class Call:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class AnsweringHost:
    """Runs requests by calling `answer`; all else is noted in `said`, or refused with `refusal` if that is set."""

    def __init__(self, answer: Answer | None = None):
        self.answer = answer
        self.said: list[tuple[Any, ...]] = []
        self.refusal: Exception | None = None
        self.calls: list[Call] = []
        self.requests: list[InferenceRequest] = []
        self.heard = threading.Condition()

    def infer(self, request: InferenceRequest, receive: Receive) -> Call:
        self.requests.append(request)
        self.calls.append(Call())

        def hear(response: InferenceResponse | None, final: bool) -> None:
            receive(response, final)
            with self.heard:
                self.heard.notify_all()

        assert self.answer is not None
        self.answer(request, hear)
        return self.calls[-1]

    def wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        with self.heard:
            return self.heard.wait_for(done, timeout)

    def load_model(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        self._note("load_model", name, config, files)

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        self._note("unload_model", name, unload_dependents)

    def is_model_ready(self, name: str, version: str = "") -> bool:
        self._note("is_model_ready", name, version)
        return True

    def log(self, level: str, message: str, file: str, line: int) -> None:
        self._note("log", level, message, file, line)

    def create_metric_family(self, name: str, description: str, kind: str) -> int:
        self._note("create_metric_family", name, description, kind)
        return 7

    def create_metric(self, family: int, labels: Mapping[str, str], buckets: Sequence[float] = ()) -> int:
        self._note("create_metric", family, labels, buckets)
        return 70

    def change_metric(self, metric: int, operation: str, value: float) -> None:
        self._note("change_metric", metric, operation, value)

    def metric_value(self, metric: int) -> float:
        self._note("metric_value", metric)
        return 2.5

    def drop_metric(self, metric: int) -> None:
        self._note("drop_metric", metric)

    def drop_metric_family(self, family: int) -> None:
        self._note("drop_metric_family", family)

    def _note(self, *what: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        with self.heard:
            self.said.append(what)
            self.heard.notify_all()


class RecordedDelivery:
    """What became of one request."""

    def __init__(self) -> None:
        self.sent: list[tuple[InferenceResponse | None, bool]] = []
        self.flushes = 0
        self.rescheduled = 0
        self.cancelled = False
        self.ended = threading.Event()

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        assert not self.ended.is_set(), "a response after the end"
        self.sent.append((response, final))
        if final:
            self.ended.set()

    def flush(self) -> None:
        self.flushes += 1

    def reschedule(self) -> None:
        assert not self.ended.is_set(), "given back after the end"
        self.rescheduled += 1
        self.ended.set()

    def is_cancelled(self) -> bool:
        return self.cancelled

    @property
    def finals(self) -> list[bool]:
        return [final for _, final in self.sent]
