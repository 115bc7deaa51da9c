"""Requests to other models: what waits for their responses, in a thread or on an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from threading import Lock
from typing import TYPE_CHECKING

from atoll.backends.python.utils.errors import TritonError
from atoll.backends.python.utils.response import InferenceResponse

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable
    from typing import Any

    from atoll.backends.python.host import Call, ModelHost
    from atoll.backends.python.utils.request import InferenceRequest


class _Single:
    """The one response of a request."""

    __slots__ = ("done", "response")

    def __init__(self) -> None:
        self.response: InferenceResponse | None = None
        self.done = False

    def receive(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self.response = response
        if final:
            self.done = True

    def is_done(self) -> bool:
        return self.done

    def result(self) -> InferenceResponse:
        if self.response is None:
            return InferenceResponse([], TritonError("the model ended the request without a response"))
        return self.response


def execute(host: ModelHost, request: InferenceRequest) -> InferenceResponse:
    """The response of a model that gives one, waited for in this thread."""
    single = _Single()
    host.infer(request, single.receive)
    if not single.done:
        host.wait(single.is_done)
    return single.result()


def execute_async(host: ModelHost, request: InferenceRequest) -> Future[InferenceResponse]:
    """The same, awaited on the event loop that runs in this thread. Cancelling it cancels the request."""
    from asyncio import get_running_loop

    loop = get_running_loop()
    future: Future[InferenceResponse] = loop.create_future()
    single = _Single()

    def receive(response: InferenceResponse | None, final: bool) -> None:
        single.receive(response, final)
        if final:
            _soon(loop.call_soon_threadsafe, _settle, future, single.result())

    _cancel_with(future, host.infer(request, receive))
    return future


def iterate(host: ModelHost, request: InferenceRequest) -> ResponseIterator:
    """The responses of a model that may give any number."""
    responses = ResponseIterator(host)
    responses.call = host.infer(request, responses.receive)
    return responses


def iterate_async(host: ModelHost, request: InferenceRequest) -> Future[ResponseIterator]:
    """The same, once the first response is there."""
    from asyncio import get_running_loop

    loop = get_running_loop()
    future: Future[ResponseIterator] = loop.create_future()
    responses = ResponseIterator(host)

    def first() -> None:
        _soon(loop.call_soon_threadsafe, _settle, future, responses)

    responses.call = host.infer(request, responses.receive)
    _cancel_with(future, responses.call)
    responses.when_received(0, first)
    return future


class ResponseIterator:
    """The responses of a request to a model, as they come: `for` waits for each in this thread, `async for` awaits it.

    The last one is empty, with neither outputs nor an error, where the model ended the request without a response. A
    second loop gives the same responses again.
    """

    __slots__ = ("_finished", "_host", "_index", "_lock", "_responses", "_waiting", "call")

    def __init__(self, host: ModelHost):
        self.call: Call | None = None
        self._host = host
        self._responses: list[InferenceResponse] = []
        self._finished = False
        self._index = 0
        self._lock = Lock()
        self._waiting: list[tuple[int, Callable[[], None]]] = []

    def receive(self, response: InferenceResponse | None, final: bool) -> None:
        """A response from the server, from any thread."""
        with self._lock:
            if response is not None or final:
                self._responses.append(response if response is not None else InferenceResponse())
            self._finished = self._finished or final
            count = len(self._responses)
            ready = [one for one in self._waiting if one[0] < count or self._finished]
            if ready:
                self._waiting = [one for one in self._waiting if one not in ready]
        for _, wake in ready:
            wake()

    def when_received(self, index: int, wake: Callable[[], None]) -> None:
        """Call `wake` as soon as there is a response of that number or it is known that there is none."""
        with self._lock:
            ready = index < len(self._responses) or self._finished
            if not ready:
                self._waiting.append((index, wake))
        if ready:
            wake()

    def cancel(self) -> None:
        """Ask the model to stop: a final response, with an error, still comes."""
        if self.call is not None and not self._finished:
            self.call.cancel()

    def __iter__(self) -> ResponseIterator:
        self._index = 0
        return self

    def __next__(self) -> InferenceResponse:
        index = self._index
        if index >= len(self._responses) and not self._finished:
            self._host.wait(lambda: index < len(self._responses) or self._finished)
        if index >= len(self._responses):
            raise StopIteration("Iteration is done for the responses.")
        self._index = index + 1
        return self._responses[index]

    async def __aiter__(self) -> AsyncIterator[InferenceResponse]:
        from asyncio import get_running_loop

        loop = get_running_loop()
        index = 0
        while True:
            if index >= len(self._responses) and not self._finished:
                future: Future[None] = loop.create_future()

                def wake(future: Future[None] = future) -> None:
                    _soon(loop.call_soon_threadsafe, _settle, future, None)

                self.when_received(index, wake)
                await future
            if index >= len(self._responses):
                return
            yield self._responses[index]
            index += 1


def _soon(call_soon: Callable[..., object], *arguments: object) -> None:
    try:
        call_soon(*arguments)
    except RuntimeError:  # the loop has ended, and with it whoever waited
        return


def _settle(future: Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _cancel_with(future: Future[Any], call: Call) -> None:
    def cancel(future: Future[Any]) -> None:
        if future.cancelled():
            call.cancel()

    future.add_done_callback(cancel)
