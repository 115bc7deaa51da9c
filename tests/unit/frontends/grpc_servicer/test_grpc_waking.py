"""Calls and streams over gRPC for models that are not in memory."""

import queue

import grpc
import numpy as np
import pytest
from tests.unit.frontends.fake_repository import WAIT_S
from tests.unit.frontends.grpc_servicer.conftest import echo
from tritonclient.grpc import service_pb2 as triton

from atoll.errors import UnavailableError
from atoll.frontends.event_loop.waking import ATTEMPTS


@pytest.fixture
def engine(serving):
    serving.engine.asleep |= {"at_once", "thread", "decoupled"}
    return serving.engine


def woken(engine, *arguments, **options):
    engine.wait_for_wake()
    engine.woken(*arguments, **options)


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("ModelMetadata", triton.ModelMetadataRequest(name="at_once")),
        ("ModelConfig", triton.ModelConfigRequest(name="at_once", version="1")),
    ],
)
def test_documents_wait_for_the_model(serving, engine, call, request_):
    asked = getattr(serving.stub, call).future(request_)
    woken(engine)
    assert asked.result(WAIT_S) == getattr(serving.stub, call)(request_)


@pytest.mark.parametrize("model", ["at_once", "thread"])
def test_inference_waits_for_the_model(serving, engine, ask, model):
    asked = serving.stub.ModelInfer.future(ask(model, "abc"))
    woken(engine)
    assert asked.result(WAIT_S).id == "abc"


def test_a_model_that_cannot_be_loaded(serving, engine, ask):
    for call, request in (
        (serving.stub.ModelInfer, ask("at_once")),
        (serving.stub.ModelConfig, triton.ModelConfigRequest(name="at_once")),
    ):
        asked = call.future(request)
        woken(engine, UnavailableError("no room"), awake=False)
        error = asked.exception(WAIT_S)
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "no room")


def test_a_model_that_is_always_pushed_out_again(serving, engine, ask):
    asked = serving.stub.ModelInfer.future(ask("at_once"))
    for _ in range(ATTEMPTS):
        woken(engine, awake=False)
    error = asked.exception(WAIT_S)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "--model-memory-budget is too small" in error.details()


def test_a_decoupled_model_is_refused_once_that_is_known(serving, engine, ask):
    asked = serving.stub.ModelInfer.future(ask("decoupled"))
    woken(engine)
    assert asked.exception(WAIT_S).code() is grpc.StatusCode.UNIMPLEMENTED


def test_who_gives_up_is_not_answered(serving, engine, ask):
    asked = serving.stub.ModelInfer.future(ask("at_once"), timeout=0.2)
    engine.wait_for_wake()
    assert asked.exception(WAIT_S).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    ran = []
    engine.models_by_name["at_once"].answer = ran.append
    serving.eventually(lambda: serving.frontend.calls_in_flight == 0)
    engine.woken()
    assert serving.stub.ModelInfer(ask("soon")).model_name == "soon"
    assert not ran


class Stream:
    """One ModelStreamInfer call: requests in, answers out one by one."""

    def __init__(self, serving):
        self._requests = queue.Queue()
        self.answers = serving.stub.ModelStreamInfer(iter(self._requests.get, None), timeout=WAIT_S)

    def send(self, *requests):
        for request in requests:
            self._requests.put(request)

    def end(self):
        self._requests.put(None)
        return list(self.answers)


def value(answer):
    return np.frombuffer(answer.infer_response.raw_output_contents[0], np.float32)[0]


def test_a_stream_keeps_its_order_while_a_model_loads(serving, engine, ask):
    stream = Stream(serving)
    stream.send(ask("soon", values=(1,)), ask("at_once", values=(2,)), ask("soon", values=(3,)))
    stream.send(ask("at_once", values=(4,)))
    assert value(next(stream.answers)) == 1
    woken(engine)
    assert [value(next(stream.answers)) for _ in range(3)] == [2, 3, 4]
    assert stream.end() == []


def test_a_decoupled_model_that_woke_holds_nobody_up(serving, engine, ask):
    stream = Stream(serving)
    stream.send(ask("decoupled", values=(1,)), ask("soon", values=(2,)))
    woken(engine)
    request = engine.models_by_name["decoupled"].next()
    assert value(next(stream.answers)) == 2
    request.sender.send(echo(request), False)
    assert value(next(stream.answers)) == 1
    request.sender.send(echo(request), True)
    assert [value(one) for one in stream.end()] == [1]


def test_a_stream_whose_model_cannot_be_loaded(serving, engine, ask):
    stream = Stream(serving)
    stream.send(ask("at_once", "a"), ask("soon", "b"))
    woken(engine, UnavailableError("no room"), awake=False)
    first, second = next(stream.answers), next(stream.answers)
    assert (first.error_message, second.infer_response.id) == ("no room", "b")
    stream.send(ask("at_once", "c"))
    for _ in range(ATTEMPTS):
        woken(engine, awake=False)
    assert "--model-memory-budget is too small" in next(stream.answers).error_message
    assert stream.end() == []


def test_a_stream_that_is_cancelled_while_its_model_loads(serving, engine, ask):
    stream = Stream(serving)
    stream.send(ask("at_once"))
    engine.wait_for_wake()
    stream.answers.cancel()
    ran = []
    engine.models_by_name["at_once"].answer = ran.append
    serving.eventually(lambda: serving.frontend.calls_in_flight == 0)
    engine.woken()
    assert serving.stub.ModelInfer(ask("soon")).model_name == "soon"
    assert not ran


def test_stopping_while_a_model_loads(serving, engine, ask):
    unary = serving.stub.ModelInfer.future(ask("at_once"))
    engine.wait_for_wake()
    serving.run(serving.frontend.drain(0.05))
    assert unary.exception(WAIT_S) is not None
    engine.woken()
