"""Requests to other models: exec, async_exec, and the iterators over a decoupled model's responses."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.backends.python.utils.model_host import (
    AnsweringHost,
    Receive,
    RecordedDelivery,
    floats,
    received,
    request_to,
)

from atoll.backends.python.utils import InferenceRequest, InferenceResponse, Tensor, TritonError, TritonModelException
from atoll.backends.python.utils.current import use_host


def one(value: float) -> InferenceResponse:
    return InferenceResponse([Tensor("OUTPUT", floats(value))])


def value_of(response: InferenceResponse) -> float | None:
    tensors = response.output_tensors()
    return float(tensors[0].as_numpy()[0]) if tensors else None


def at_once(*responses: InferenceResponse, last: InferenceResponse | None = None) -> Callable[..., None]:
    def answer(request: InferenceRequest, receive: Receive) -> None:
        for response in responses:
            receive(response, False)
        receive(last, True)

    return answer


def later(*responses: InferenceResponse, last: InferenceResponse | None = None) -> Callable[..., None]:
    """The same from another thread, after the call has returned."""

    def answer(request: InferenceRequest, receive: Receive) -> None:
        threading.Timer(0.02, at_once(*responses, last=last), (request, receive)).start()

    return answer


def never(request: InferenceRequest, receive: Receive) -> None:
    pass


@pytest.mark.parametrize("when", [at_once, later])
def test_exec_gives_the_response(when: Any) -> None:
    host = AnsweringHost(when(last=one(4)))
    request = request_to()
    with use_host(host):
        assert value_of(request.exec()) == 4
    assert host.requests == [request]
    assert not request.decoupled


@pytest.mark.parametrize("when", [at_once, later])
def test_exec_gives_a_response_that_came_before_the_end(when: Any) -> None:
    with use_host(AnsweringHost(when(one(4)))):
        assert value_of(request_to().exec()) == 4


def test_what_goes_wrong_is_the_responses_error() -> None:
    with use_host(AnsweringHost(at_once(last=InferenceResponse([], TritonError("no", TritonError.NOT_FOUND))))):
        error = request_to().exec().error()
    assert error is not None
    assert (error.message(), error.code()) == ("no", TritonError.NOT_FOUND)


def test_a_model_that_gives_nothing_is_an_error() -> None:
    with use_host(AnsweringHost(at_once())):
        error = request_to().exec().error()
    assert error is not None
    assert error.message() == "the model ended the request without a response"


@pytest.mark.parametrize("when", [at_once, later])
def test_the_responses_of_a_decoupled_model(when: Any) -> None:
    request = request_to()
    with use_host(AnsweringHost(when(one(1), one(2)))):
        responses = request.exec(decoupled=True)
    assert request.decoupled
    assert iter(responses) is responses
    assert [value_of(response) for response in responses] == [1, 2, None]  # the last: the end, without a response
    assert [value_of(response) for response in responses] == [1, 2, None]
    with pytest.raises(StopIteration):
        next(responses)


@pytest.mark.parametrize("when", [at_once, later])
def test_a_last_response_is_the_last(when: Any) -> None:
    with use_host(AnsweringHost(when(one(1), last=one(2)))):
        assert [value_of(response) for response in request_to().exec(decoupled=True)] == [1, 2]


def test_a_response_is_given_as_soon_as_it_is_there() -> None:
    receivers: list[Receive] = []
    with use_host(AnsweringHost(lambda request, receive: receivers.append(receive))):
        responses = request_to().exec(decoupled=True)
    receivers[0](one(1), False)
    assert value_of(next(responses)) == 1
    receivers[0](one(2), True)
    assert value_of(next(responses)) == 2


def test_cancelling_reaches_the_server_until_the_end() -> None:
    host = AnsweringHost(never)
    with use_host(host):
        request_to().exec(decoupled=True).cancel()
    assert host.calls[0].cancelled
    done = AnsweringHost(at_once(one(1)))
    with use_host(done):
        request_to().exec(decoupled=True).cancel()
    assert not done.calls[0].cancelled


@pytest.mark.parametrize("when", [at_once, later])
async def test_async_exec_does_not_block(when: Any) -> None:
    host = AnsweringHost(when(last=one(4)))
    with use_host(host):
        pending = request_to().async_exec()
        assert len(host.requests) == 1  # it is on its way before anybody awaits it
        assert value_of(await pending) == 4
        both = await asyncio.gather(request_to().async_exec(), request_to().async_exec())
    assert [value_of(response) for response in both] == [4, 4]


@pytest.mark.parametrize("when", [at_once, later])
async def test_async_exec_of_a_decoupled_model(when: Any) -> None:
    with use_host(AnsweringHost(when(one(1), one(2)))):
        responses = await request_to().async_exec(decoupled=True)
        assert [value_of(response) async for response in responses] == [1, 2, None]
        assert [value_of(response) for response in responses] == [1, 2, None]


async def test_async_exec_waits_for_the_first_response_only() -> None:
    receivers: list[Receive] = []
    with use_host(AnsweringHost(lambda request, receive: receivers.append(receive))):
        pending = request_to().async_exec(decoupled=True)
        await asyncio.sleep(0)
        assert not pending.done()
        receivers[0](one(1), False)
        responses = await pending
        assert value_of(next(responses)) == 1

        async def rest() -> list[float | None]:
            return [value_of(response) async for response in responses]

        task = asyncio.create_task(rest())
        await asyncio.sleep(0)
        receivers[0](one(2), True)
        assert await task == [1, 2]


async def test_cancelling_what_is_awaited_cancels_the_request() -> None:
    host = AnsweringHost(never)
    with use_host(host):
        for decoupled in (False, True):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(request_to().async_exec(decoupled=decoupled), 0.01)
    assert [call.cancelled for call in host.calls] == [True, True]


def test_an_answer_after_the_loops_end_is_dropped() -> None:
    receivers: list[Receive] = []

    async def start() -> None:
        with use_host(AnsweringHost(lambda request, receive: receivers.append(receive))):
            request_to().async_exec()
            request_to().async_exec(decoupled=True)

    asyncio.run(start())
    for receive in receivers:
        receive(one(1), True)


def test_async_exec_needs_a_loop() -> None:
    host = AnsweringHost(never)
    with use_host(host), pytest.raises(RuntimeError, match="no running event loop"):
        request_to().async_exec()
    assert not host.requests


@pytest.mark.parametrize("wrong", ["x", None, b"x"])
@pytest.mark.parametrize("function", ["exec", "async_exec"])
def test_decoupled_is_true_or_false(function: str, wrong: Any) -> None:
    with use_host(AnsweringHost(never)), pytest.raises(TypeError, match=rf"^{function}\(\): incompatible function"):
        getattr(request_to(), function)(decoupled=wrong)


def test_a_received_request_goes_to_the_host_it_came_from() -> None:
    host = AnsweringHost(at_once(last=one(1)))
    assert value_of(received(RecordedDelivery(), host, model_name="this").exec()) == 1


def test_without_a_server_there_is_nobody_to_ask() -> None:
    with pytest.raises(TritonModelException, match=r"see atoll\.testing"):
        request_to().exec()
