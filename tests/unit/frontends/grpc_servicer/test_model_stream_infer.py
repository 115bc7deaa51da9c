"""ModelStreamInfer; statuses, texts and fields are those of the real server."""

import queue
import threading

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.grpc import service_pb2 as triton

from atoll.errors import InternalError
from atoll.frontends.grpc.stream import StreamLimits
from atoll.request import InferenceResponse
from atoll.tensor import DataType, Tensor

END = object()


class Stream:
    """A client's end of one call."""

    def __init__(self, serving, metadata=()):
        self._requests = queue.Queue()
        self.call = serving.stub.ModelStreamInfer(iter(self._requests.get, END), metadata=metadata, timeout=60)

    def send(self, *requests):
        for request in requests:
            self._requests.put(request)
        return self

    def done(self):
        self._requests.put(END)
        return self

    def next(self):
        return next(self.call)

    def rest(self):
        return list(self.call)

    def failure(self):
        with pytest.raises(grpc.RpcError) as failed:
            self.rest()
        return failed.value.code().name, failed.value.details()


@pytest.fixture
def stream(serving):
    made = []

    def open_stream(**metadata):
        made.append(Stream(serving, tuple(metadata.items())))
        return made[-1]

    yield open_stream
    for one in made:
        one.done().call.cancel()


def response(request, values=(), **more):
    array = np.array(values, np.int32)
    outputs = [Tensor("OUT", DataType.INT32, array.shape, array=array)] if len(values) else []
    return InferenceResponse(request.model_name, "1", request.id, outputs, **more)


def ids(answers):
    return [one.infer_response.id for one in answers]


def test_a_stream_without_requests(stream):
    assert stream().done().rest() == []


def test_answers_in_the_order_of_the_requests(serving, stream, ask):
    held = serving.engine.models_by_name["held"]
    client = stream().send(ask("held", "a"), ask("soon", "b"), ask("nope", "c"), ask("held", "d"), ask("thread", "e"))
    first, second = held.next(), held.next()
    second.sender.send(response(second), True)
    first.sender.send(response(first), True)
    answers = client.done().rest()
    assert ids(answers) == ["a", "b", "c", "d", "e"]
    assert [one.error_message for one in answers] == ["", "", "Request for unknown model: 'nope' is not found", "", ""]
    assert all(
        one.infer_response.parameters["triton_final_response"].bool_param for one in answers if one.error_message == ""
    )


def test_an_answer_comes_as_soon_as_it_is_its_turn(stream, ask):
    client = stream()
    for model in ("at_once", "soon", "thread"):
        assert client.send(ask(model, model)).next().infer_response.id == model


def test_refusals_are_answers_and_the_stream_goes_on(stream, ask):
    wrong = ask("soon", "w")
    wrong.inputs[0].name = "X"
    for metadata in ({}, {"triton_grpc_error": "true"}):  # as the real server: only a model's own errors end it
        client = stream(**metadata).send(wrong, ask("soon", "r")).done()
        refused, answered = client.rest()
        assert refused == triton.ModelStreamInferResponse(
            error_message="[request id: w] wrong inputs", infer_response=triton.ModelInferResponse(id="w")
        )
        assert answered.infer_response.id == "r"


def test_a_model_that_fails(stream, ask):
    failed, answered = stream().send(ask("failing", "f"), ask("soon", "r")).done().rest()
    assert failed.error_message == "told to fail"
    assert (failed.infer_response.model_name, failed.infer_response.model_version) == ("failing", "")
    assert failed.infer_response.id == "f"
    assert failed.infer_response.parameters["triton_final_response"].bool_param
    assert answered.infer_response.id == "r"


@pytest.mark.parametrize("half_closed", [True, False])
def test_a_model_that_fails_ends_the_stream_where_errors_are_statuses(serving, stream, ask, half_closed):
    client = stream(triton_grpc_error="true").send(ask("soon", "a"))
    assert client.next().infer_response.id == "a"
    client.send(ask("held", "h"), ask("failing", "f"))
    other = serving.engine.models_by_name["held"].next()
    if half_closed:
        client.done()
    assert client.failure() == ("UNAVAILABLE", "told to fail")
    serving.eventually(lambda: other.cancelled)
    other.sender.send(response(other), True)  # to nobody


@pytest.mark.parametrize("value", ["1", "TRUE", "false"])
def test_other_values_of_that_header_mean_nothing(stream, ask, value):
    answers = stream(triton_grpc_error=value).send(ask("failing", "f"), ask("soon", "r")).done().rest()
    assert ids(answers) == ["f", "r"]


def test_bytes_that_are_no_message_end_the_stream(serving, ask):
    method = "/inference.GRPCInferenceService/ModelStreamInfer"
    call = serving.channel().stream_stream(method)(iter([ask("soon").SerializeToString(), b"\xff\xff"]), timeout=20)
    with pytest.raises(grpc.RpcError) as failed:
        list(call)
    assert (failed.value.code().name, failed.value.details()) == ("INTERNAL", "Unable to parse request")


@pytest.mark.parametrize("empty_final", [True, False])
def test_a_decoupled_model(serving, stream, ask, empty_final):
    message = ask("decoupled", "d")
    if empty_final:
        message.parameters["triton_enable_empty_final_response"].bool_param = True
    client = stream().send(message)
    request = serving.engine.models_by_name["decoupled"].next()
    assert request.parameters is None
    for number in range(3):
        request.sender.send(response(request, [number]), False)
        answer = client.next().infer_response
        assert answer.raw_output_contents[0] == np.int32(number).tobytes()
        assert answer.parameters["triton_final_response"].bool_param is False
    request.sender.send(response(request, error=InternalError("on purpose")), False)
    failed = client.next()
    assert failed.error_message == "on purpose"
    assert failed.infer_response.parameters["triton_final_response"].bool_param is False
    request.sender.send(None, True)
    rest = client.done().rest()
    if not empty_final:
        assert rest == []
        return
    expected = triton.ModelInferResponse(model_name="decoupled", id="d")
    expected.parameters["triton_final_response"].bool_param = True
    assert rest == [triton.ModelStreamInferResponse(infer_response=expected)]


def test_decoupled_responses_wait_for_nobody(serving, stream, ask):
    client = stream().send(ask("held", "h"), ask("decoupled", "d"))
    held = serving.engine.models_by_name["held"].next()
    decoupled = serving.engine.models_by_name["decoupled"].next()
    decoupled.sender.send(response(decoupled, [1]), True)
    assert client.next().infer_response.id == "d"
    held.sender.send(response(held), True)
    assert client.next().infer_response.id == "h"


def test_several_responses_of_a_model_keep_their_places(serving, stream, ask):
    client = stream().send(ask("held", "a"), ask("held", "b"), ask("soon", "c"))
    held = serving.engine.models_by_name["held"]
    a, b = held.next(), held.next()
    b.sender.send(response(b, [1]), False)
    a.sender.send(response(a, [2]), False)
    assert client.next().infer_response.id == "a"
    a.sender.send(None, True)
    assert client.next().infer_response.id == "b"
    b.sender.send(response(b, [3]), True)
    assert ids(client.done().rest()) == ["b", "c"]


@pytest.mark.parametrize("end", ["cancel", "disconnect"])
def test_a_client_that_goes_away_cancels_its_requests(serving, ask, end):
    channel = serving.channel()
    call = channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        request_serializer=triton.ModelInferRequest.SerializeToString,
    )(iter([ask("held"), ask("held"), ask("decoupled")]))
    requests = [serving.engine.models_by_name[name].next() for name in ("held", "held", "decoupled")]
    if end == "cancel":
        call.cancel()
    else:
        channel.close()
    serving.eventually(lambda: all(request.cancelled for request in requests))
    for request in requests:
        request.sender.send(response(request), True)
    assert serving.stub.ServerLive(triton.ServerLiveRequest()).live


def test_no_more_requests_are_read_than_may_be_in_flight(serve, ask):
    serving = serve(stream_limits=StreamLimits(requests=2))
    client = Stream(serving).send(*(ask("held", str(number)) for number in range(5))).done()
    held = serving.engine.models_by_name["held"]
    for number in range(5):
        if number == 0:
            waiting = [held.next(), held.next()]
        with pytest.raises(queue.Empty):
            held.requests.get(timeout=0.05)
        request = waiting.pop(0)
        request.sender.send(response(request), True)
        assert client.next().infer_response.id == str(number)
        if number < 3:
            waiting.append(held.next())
    assert client.rest() == []


def test_a_request_larger_than_the_limit_is_read_alone(serve, ask):
    serving = serve(stream_limits=StreamLimits(request_bytes=1000))
    large = [ask("held", str(number), np.zeros(1000, np.float32)) for number in range(2)]
    client = Stream(serving).send(*large).done()
    held = serving.engine.models_by_name["held"]
    first = held.next()
    with pytest.raises(queue.Empty):
        held.requests.get(timeout=0.05)
    first.sender.send(response(first), True)
    second = held.next()
    second.sender.send(response(second), True)
    assert ids(client.rest()) == ["0", "1"]


def test_a_slow_reader_gets_everything(serving, stream, ask):
    client = stream().send(ask("decoupled", "d"))
    request = serving.engine.models_by_name["decoupled"].next()
    block = list(range(100_000))
    for _ in range(60):
        request.sender.send(response(request, block), False)
    request.sender.send(None, True)
    answers = client.done().rest()
    assert len(answers) == 60
    assert {one.infer_response.raw_output_contents[0] for one in answers} == {np.array(block, np.int32).tobytes()}


def test_a_client_that_does_not_read_loses_its_stream(serve, ask):
    serving = serve(stream_limits=StreamLimits(waiting_response_bytes=1 << 20))
    client = Stream(serving).send(ask("decoupled", "d"))
    request = serving.engine.models_by_name["decoupled"].next()
    block = response(request, np.zeros(100_000, np.int32))

    def flood():
        while not request.cancelled:
            request.sender.send(block, False)

    flooding = threading.Thread(target=flood)
    flooding.start()
    flooding.join(20)
    assert request.cancelled
    assert client.failure()[0] == "RESOURCE_EXHAUSTED"
    request.sender.send(None, True)


def test_tritonclient(serving):
    answers = queue.Queue()
    with InferenceServerClient(serving.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(20):
            tensor = InferInput("IN", [1, 1], "FP32")
            tensor.set_data_from_numpy(np.array([[number]], np.float32))
            client.async_stream_infer("soon" if number % 2 else "thread", [tensor], request_id=str(number))
        for number in range(20):
            result, error = answers.get(timeout=20)
            assert error is None
            assert result.get_response().id == str(number)
            assert result.as_numpy("OUT").tolist() == [[number]]
        client.stop_stream()
