"""A host and deliveries that note what a model says, and the requests of a test."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atoll.backends.python.runner import PythonModel
from atoll.backends.python.utils import InferenceRequest, InferenceResponse
from atoll.tensor import Tensor

Start = Callable[..., PythonModel]

OK = """
import triton_python_backend_utils as pb_utils
import asyncio, threading

def answer(request):
    array = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", array * 2)])

"""


class RecordingHost:
    """Notes log lines; everything else is no part of these tests."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, int]] = []

    def log(self, level: str, message: str, file: str, line: int) -> None:
        self.lines.append((level, message, file, line))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the model asked its host for {name}")


class RecordingDelivery:
    """What became of one request."""

    def __init__(self) -> None:
        self.responses: list[InferenceResponse] = []
        self.finals = 0
        self.rescheduled = 0
        self.cancelled = False
        self.ended = threading.Event()

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        assert not self.finals, "a response after the final one"
        assert not self.rescheduled, "a response after the request was given back"
        if response is not None:
            self.responses.append(response)
        if final:
            self.finals += 1
            self.ended.set()

    def flush(self) -> None:
        """Everything goes out at once here."""

    def reschedule(self) -> None:
        assert not self.finals, "given back after its final response"
        self.rescheduled += 1
        self.ended.set()

    def is_cancelled(self) -> bool:
        return self.cancelled

    @property
    def error(self) -> str | None:
        """The text of the last response's error."""
        error = self.responses[-1].error() if self.responses else None
        return error.message() if error is not None else None

    @property
    def output(self) -> list[float]:
        """The values of the one output of the one response."""
        (response,) = self.responses
        assert not response.has_error(), response.error().message()  # type: ignore[union-attr]
        (tensor,) = response.output_tensors()
        values: list[float] = tensor.as_numpy().reshape(-1).tolist()
        return values


def write_model(directory: Path, code: str, *, files: Mapping[str, str] | None = None, version: int = 1) -> Path:
    """A model.py in DIRECTORY/VERSION, and the files, whose paths are relative to DIRECTORY."""
    folder = directory / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {f"{version}/model.py": code, **(files or {})}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(textwrap.dedent(text))
    return folder / "model.py"


def make_model(
    file: Path, host: RecordingHost, *, decoupled: bool = False, args: Mapping[str, str] | None = None
) -> PythonModel:
    """A model of that file, not initialized."""
    return PythonModel(
        file=file,
        name="m",
        instance="m_0_0",
        version=1,
        host=host,
        args=args or {},
        config={"name": "m", "model_transaction_policy": {"decoupled": decoupled}},
    )


def make_requests(
    host: RecordingHost, count: int = 1, *, decoupled: bool = False, names: Sequence[str] = ()
) -> tuple[list[InferenceRequest], list[RecordingDelivery]]:
    """Requests with one FP32 input, [[n, n + 1]], and what becomes of them."""
    deliveries = [RecordingDelivery() for _ in range(count)]
    requests = [
        InferenceRequest.received(
            [Tensor.from_numpy("INPUT", np.array([[n, n + 1]], np.float32))],
            delivery=delivery,
            host=host,
            request_id=f"r{n}",
            decoupled=decoupled,
            requested_output_names=names,
        )
        for n, delivery in enumerate(deliveries)
    ]
    return requests, deliveries


def run(model: PythonModel, host: RecordingHost, count: int = 1) -> list[RecordingDelivery]:
    """Execute one batch; the requests are gone afterwards, as in a server."""
    requests, deliveries = make_requests(host, count, decoupled=model.decoupled)
    model.execute(requests)
    return deliveries
