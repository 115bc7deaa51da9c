"""What comes back: responses, and the iterators over those of one request, for threads and for event loops."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from atoll.errors import AtollError, InternalError, UnavailableError
from atoll.request import InferenceRequest as EngineRequest
from atoll.request import InferenceResponse as EngineResponse
from atoll.tritonserver.memory import MemoryAllocator
from atoll.tritonserver.tensor import Tensor, placed, tensor_of
from atoll.tritonserver.unpicklable import Unpicklable

if TYPE_CHECKING:
    from atoll.tritonserver.model import Model
    from atoll.tritonserver.request import InferenceRequest

logger = logging.getLogger(__name__)


@dataclass
class InferenceResponse(Unpicklable):
    """One response. The last one of a request is `final`; of a decoupled model it may have no outputs.

    `error` stands in the place of the outputs. `classification_label`: always None, as classes are asked for over HTTP
    and gRPC only.
    """

    model: "Model"
    request_id: str | None = None
    parameters: dict[str, str | int | bool | float] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    error: AtollError | None = None
    classification_label: str | None = None
    final: bool = False


class Responses:
    """A request's sender: makes the API's responses of the engine's, on whichever thread they come."""

    __slots__ = ("_allocator", "_deliver", "_model", "_request_id", "engine_request")

    def __init__(self, request: "InferenceRequest", deliver: "Put"):
        self._model = request.model
        self._request_id = request.request_id
        self._allocator = request.output_memory_allocator
        self._deliver = deliver
        self.engine_request: EngineRequest | None = None  # until it is answered: they hold each other

    def send(self, response: EngineResponse | None, final: bool) -> None:
        """See `ResponseSender`."""
        if final:
            self.engine_request = None
        if response is None and not final:
            return
        try:
            made = self._made(response, final)
        except AtollError as error:
            made = InferenceResponse(self._model, self._request_id, error=error, final=final)
        except Exception as error:  # a memory allocator is the user's
            logger.exception("a response of model '%s' could not be given", self._model.name)
            text = f"{type(error).__name__}: {error}"
            made = InferenceResponse(self._model, self._request_id, error=InternalError(text), final=final)
        self._deliver(made)

    def _made(self, response: EngineResponse | None, final: bool) -> InferenceResponse:
        if response is None:
            return InferenceResponse(self._model, self._request_id, final=final)
        if response.error is not None:
            error = response.error.with_traceback(None)
            return InferenceResponse(self._model, self._request_id, error=error, final=final)
        outputs = {one.name: tensor_of(one) for one in response.outputs}
        if self._allocator is not None:
            allocator: MemoryAllocator = self._allocator
            outputs = {name: placed(one, name, allocator) for name, one in outputs.items()}
        return InferenceResponse(self._model, self._request_id, dict(response.parameters), outputs, final=final)

    def cancel(self) -> None:
        """Ask for no more responses; the last one still comes."""
        request = self.engine_request
        if request is not None:
            request.cancel()


class ResponseIterator(Unpicklable):
    """The responses of one request, for threads. It ends behind the final one."""

    def __init__(self, request: "InferenceRequest", raise_on_error: bool):
        self._queue: queue.SimpleQueue[InferenceResponse] = queue.SimpleQueue()
        self._raise_on_error = raise_on_error
        self._ended = False
        self._responses = Responses(request, _to_both(self._queue.put, _thread_put(request.response_queue)))

    @property
    def sender(self) -> Responses:
        """Where the engine sends them."""
        return self._responses

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> InferenceResponse:
        if self._ended:
            raise StopIteration
        response = self._queue.get()
        self._ended = response.final
        try:
            return _checked(response, self._raise_on_error)
        finally:
            del response  # what is raised holds this frame

    def cancel(self) -> None:
        """Nobody wants the rest: what is queued is dropped, what runs is told, and the final response is an error.

        From any thread; does nothing when all has been answered.
        """
        self._responses.cancel()


class AsyncResponseIterator(Unpicklable):
    """The same for the event loop on which it was made."""

    def __init__(self, request: "InferenceRequest", raise_on_error: bool, loop: asyncio.AbstractEventLoop):
        self._queue: asyncio.Queue[InferenceResponse] = asyncio.Queue()
        self._raise_on_error = raise_on_error
        self._ended = False
        put = _to_both(self._queue.put_nowait, _loop_put(request.response_queue))
        self._responses = Responses(request, _on_loop(loop, put))

    @property
    def sender(self) -> Responses:
        """Where the engine sends them."""
        return self._responses

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> InferenceResponse:
        if self._ended:
            raise StopAsyncIteration
        response = await self._queue.get()
        self._ended = response.final
        try:
            return _checked(response, self._raise_on_error)
        finally:
            del response  # what is raised holds this frame

    def cancel(self) -> None:
        """See `ResponseIterator.cancel`."""
        self._responses.cancel()


Put = Callable[[InferenceResponse], object]


def _to_both(first: Put, second: Put | None) -> Put:
    if second is None:
        return first

    def put(response: InferenceResponse) -> None:
        second(response)
        first(response)

    return put


def _thread_put(target: Any) -> Put | None:
    if target is None:
        return None
    if isinstance(target, asyncio.Queue):
        raise UnavailableError("infer: response_queue is an asyncio.Queue; use async_infer, or a queue.SimpleQueue")
    return _quiet(target.put_nowait)


def _loop_put(target: Any) -> Put | None:
    return None if target is None else _quiet(target.put_nowait)


def _quiet(put: Put) -> Put:
    """A queue of the user's may be full, or anything; the iterator has the response all the same."""

    def quietly(response: InferenceResponse) -> None:
        try:
            put(response)
        except (queue.Full, asyncio.QueueFull):
            logger.error("a response of model '%s' found the response_queue full", response.model.name)
        except Exception:
            logger.exception("the response_queue did not take a response of model '%s'", response.model.name)

    return quietly


def _on_loop(loop: asyncio.AbstractEventLoop, put: Put) -> Put:
    """From any thread to the loop's, which is the one that calls."""
    own_thread = threading.get_ident()

    def deliver(response: InferenceResponse) -> None:
        if threading.get_ident() == own_thread:
            put(response)
            return
        try:
            loop.call_soon_threadsafe(put, response)
        except RuntimeError:
            logger.debug("a response found its event loop closed")

    return deliver


def _checked(response: InferenceResponse, raise_on_error: bool) -> InferenceResponse:
    if response.error is None or not raise_on_error:
        return response
    error = response.error
    try:
        raise error
    finally:
        del error, response  # no circle: its traceback holds this frame
