"""What a Python caller puts in, and where it waits for the one answer: a thread, or an event loop's future."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from atoll.errors import AtollError, InternalError, InvalidArgumentError, UnsupportedError
from atoll.request import InferenceRequest, InferenceResponse, Parameter
from atoll.tensor import Array, DataType, Tensor

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

logger = logging.getLogger(__name__)

Inputs = Mapping[str, "Array | Sequence[Any] | Tensor"]
"""What a Python caller gives for a model's inputs, by name."""


class Typed(Protocol):
    """An input of a model."""

    @property
    def datatype(self) -> DataType: ...


def input_tensor(name: str, value: "Array | Sequence[Any] | Tensor", datatype: DataType | None) -> Tensor:
    """What a Python caller gave for an input: a bare sequence takes the model's type, uint16 may be BF16.

    Raises InvalidArgumentError naming the input for a sequence that cannot have that type.
    """
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray):
        try:
            value = np.asarray(value, dtype=None if datatype is None else datatype.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            wanted = "an array" if datatype is None else f"an array of {datatype.name}"
            raise InvalidArgumentError(f"input '{name}' cannot be made {wanted}: {error}") from error
    if datatype is DataType.BF16 and value.dtype == np.uint16:
        return Tensor(name, datatype, value.shape, array=value)
    return Tensor.from_numpy(name, value)


def request_of(
    model_name: str,
    model_version: str,
    inputs: Inputs,
    specs: Mapping[str, Typed],
    reply: "ThreadReply | LoopReply",
    outputs: Sequence[str],
    request_id: str,
    parameters: dict[str, Parameter] | None,
) -> InferenceRequest:
    """What a Python caller asks of a model, whose inputs are `specs`, as a request. Raises as `input_tensor`."""
    tensors = {}
    for name, value in inputs.items():
        spec = specs.get(name)
        tensors[name] = input_tensor(name, value, spec.datatype if spec is not None else None)
    return InferenceRequest(
        model_name,
        tensors,
        reply,
        model_version=model_version,
        id=request_id,
        output_names=tuple(outputs),
        parameters=parameters,
    )


def checked_timeout(timeout: float | None) -> float | None:
    """Seconds to wait, as a lock takes them. Raises InvalidArgumentError for what is no such time."""
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)) or not timeout >= 0:  # not a number is not at least 0
        raise InvalidArgumentError(f"timeout is {timeout!r}, and must be None or a number of seconds from 0")
    return min(timeout, threading.TIMEOUT_MAX)


def checked_priority(priority: int) -> int:
    """Raises InvalidArgumentError for what is no level."""
    if not isinstance(priority, int) or not 0 <= priority < 1 << 64:
        raise InvalidArgumentError(f"priority is {priority!r}, and must be a whole number from 0, the default level")
    return priority


def decoupled_refusal(model_name: str) -> UnsupportedError:
    """That a model may answer any number of times, to another model that asked for one answer; the real server's
    words.
    """
    return UnsupportedError(
        f"Model {model_name} is using the decoupled. The current BLS request call doesn't support models using the "
        "decoupled transaction policy. Please use 'decoupled=True' argument to the 'exec' or 'async_exec' calls for "
        "decoupled models.'"
    )


def wait_for(ask: Callable[[Callable[[AtollError | None], None]], None]) -> None:
    """Have `ask` call back, from any thread, and wait until it does. Raises the error that it is called back with."""
    answered = threading.Event()
    errors: list[AtollError | None] = []

    def then(error: AtollError | None) -> None:
        errors.append(error)
        answered.set()

    ask(then)
    answered.wait()
    error = errors.pop()
    if error is None:
        return
    try:
        raise error
    finally:
        del error  # no circle: its traceback holds this frame, and the caller's with the arrays


class ThreadReply:
    """Where a thread waits for one answer. A bare lock: an Event would cost more than a small inference."""

    __slots__ = ("_answered", "_response")

    def __init__(self) -> None:
        self._answered = threading.Lock()
        self._answered.acquire()
        self._response: InferenceResponse | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self._response = response
        if final:
            self._answered.release()

    def wait(self, timeout: float | None) -> bool:
        return self._answered.acquire(timeout=-1 if timeout is None else timeout)

    def result(self) -> InferenceResponse:
        """Once: what is raised holds this object by its traceback, and must not be held by it."""
        self._response, response = None, self._response
        try:
            return _one_response(response)
        finally:
            del response


class LoopReply:
    """A future of an event loop, for one answer from any thread. To be taken before the request is submitted."""

    __slots__ = ("_loop", "_response", "_thread_id", "future")

    def __init__(self, loop: "AbstractEventLoop"):
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._response: InferenceResponse | None = None
        self.future: Future[InferenceResponse] = loop.create_future()

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self._response = response
        if not final:
            return
        if threading.get_ident() == self._thread_id:
            self._settle()
            return
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            logger.debug("an answer found its event loop closed")

    def _settle(self) -> None:
        future, response = self.future, self._response
        del self.future, self._response  # an error may hold its request, which holds this
        if future.done():
            return
        try:
            future.set_result(_one_response(response))
        except AtollError as error:
            future.set_exception(error.with_traceback(None))


def _one_response(response: InferenceResponse | None) -> InferenceResponse:
    if response is None:
        raise InternalError("the model ended the request without a response")
    error = response.error
    if error is None:
        return response
    try:
        raise error
    finally:
        del error, response  # no circle: its traceback holds this frame, and what it holds the client's arrays
