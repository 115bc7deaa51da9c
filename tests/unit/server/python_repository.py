"""Small Python models on disk, what asks them, and a look at what a server leaves behind."""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

import atoll
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import Tensor

PATIENCE_S = 60.0  # before a test gives up; nothing takes nearly as long
PREFIX = f"atoll_test_python_{os.getpid()}_"

_PREAMBLE = """
import asyncio, ctypes, os, signal, threading, time
import numpy as np
import triton_python_backend_utils as pb
FINAL = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
def value(request, name="IN"):
    return pb.get_input_tensor_by_name(request, name).as_numpy()
def answer(array):
    return pb.InferenceResponse([pb.Tensor("OUT", array)])
def call(model, array):
    return pb.InferenceRequest(inputs=[pb.Tensor("IN", array)], requested_output_names=["OUT"], model_name=model)
def out(response):
    if response.has_error():
        raise pb.TritonModelException(response.error().message())
    return pb.get_output_tensor_by_name(response, "OUT").as_numpy()
def note(path, text):
    with open(path, "a") as file:
        file.write(text)
"""


def write_python(
    repository: Path,
    name: str,
    code: str,
    *,
    instances: int = 1,
    decoupled: bool = False,
    parameters: Mapping[str, object] | None = None,
    more: str = "",
) -> Path:
    """A model FP32[-1] -> FP32[-1], IN to OUT; `code` is that of TritonPythonModel, or only `def each(request)`, which
    returns the response to one request. Returns where it may leave notes: `NOTES` in the code.
    """
    folder = repository / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    notes = folder / "notes"
    if "class TritonPythonModel" not in code:
        code += (
            "\nclass TritonPythonModel:\n    def execute(self, requests):\n"
            "        return [each(request) for request in requests]\n"
        )
    (folder / "1" / "model.py").write_text(f"{_PREAMBLE}\nNOTES = {str(notes)!r}\n{code}")
    said = "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{one}" }} }}\n' for key, one in (parameters or {}).items()
    )
    (folder / "config.pbtxt").write_text(
        f'backend: "python"\nmax_batch_size: 0\n'
        f'input [{{ name: "IN" data_type: TYPE_FP32 dims: [-1] }}]\n'
        f'output [{{ name: "OUT" data_type: TYPE_FP32 dims: [-1] }}]\n'
        f"instance_group [{{ count: {instances} kind: KIND_CPU }}]\n"
        f"model_transaction_policy {{ decoupled: {str(decoupled).lower()} }}\n{said}{more}"
    )
    return notes


def serving(repository: Path, *, stub_timeout_s: float = 60, settings: str = "", **options: Any) -> atoll.Server:
    """A server of these models, not started; `settings` are more of the Python backend's, "key=value;key=value"."""
    said = [f"shm-region-prefix-name={PREFIX}", f"stub-timeout-seconds={stub_timeout_s}"]
    said += [one for one in settings.split(";") if one]
    options.setdefault("model_control_mode", "none")
    return atoll.Server(repository, backend_config=tuple(f"python,{one}" for one in said), **options)


class Asked:
    """A request on its way, and all that came of it."""

    def __init__(self, server: atoll.Server, model: str, array: Any, request_id: str = ""):
        self.responses: list[InferenceResponse] = []
        self.finals = 0
        self.came = threading.Condition()
        self.on_response: Callable[[], None] = lambda: None
        array = np.asarray(array, np.float32)
        self.request = InferenceRequest(model, {"IN": Tensor.from_numpy("IN", array)}, self, id=request_id)
        server.submit(self.request)

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        with self.came:
            if response is not None:
                self.responses.append(response)
            self.finals += final
            self.came.notify_all()
        self.on_response()

    def wait(self, count: int = 0) -> "Asked":
        """Until it has ended, or so many responses are there."""
        with self.came:
            ended = self.came.wait_for(
                lambda: self.finals or (count and len(self.responses) >= count), timeout=PATIENCE_S
            )
        assert ended, "the request was never answered"
        assert self.finals <= 1
        return self

    @property
    def error(self) -> str:
        """Of the only response; "" where that is none."""
        [response] = self.wait().responses
        return str(response.error) if response.error is not None else ""

    @property
    def values(self) -> list[float]:
        """The first element of each response."""
        return [float(response["OUT"].ravel()[0]) for response in self.wait().responses]


def eventually(true: Callable[[], Any], what: str) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"it never came to this: {what}"
        time.sleep(0.005)


def ask(server: atoll.Server, model: str, array: Any) -> float:
    """The first element of the answer."""
    return float(server.infer(model, {"IN": np.asarray(array, np.float32)})["OUT"].ravel()[0])


_others: set[int] = set()  # processes that other tests have started, such as a stand-in for a store


def children() -> set[int]:
    """The processes that this one has started since `nothing_left` was entered, and that are not reaped."""
    return _all_children() - _others


def _all_children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def _descriptors() -> dict[str, str]:
    found = {}
    for one in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found[one] = os.readlink(f"/proc/self/fd/{one}")
    return {fd: target for fd, target in found.items() if not target.startswith("/proc/")}


def _threads() -> set[str]:
    return {f"{one.name} {one.ident}" for one in threading.enumerate()}


def _regions() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith(PREFIX)}


@contextmanager
def nothing_left() -> Iterator[None]:
    """Whatever is done inside leaves no process, thread, descriptor and shared memory."""
    _others.clear()
    _others.update(_all_children())
    before = (children(), _threads(), len(_descriptors()), _regions())
    descriptors = _descriptors()
    yield

    def left() -> tuple[Any, ...]:
        return (
            children() - before[0],
            _threads() - before[1],
            max(len(_descriptors()) - before[2], 0),
            _regions() - before[3],
        )

    deadline = time.monotonic() + PATIENCE_S / 3
    looks = 0
    while any(found := left()) and time.monotonic() < deadline:
        time.sleep(0.01)
        looks += 1
        if looks % 5 == 0:
            gc.collect()
    new = {fd: target for fd, target in _descriptors().items() if descriptors.get(fd) != target}
    assert not any(found), f"left behind: {found}, {new}"
