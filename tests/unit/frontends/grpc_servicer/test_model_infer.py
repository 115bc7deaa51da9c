"""ModelInfer."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.grpc import service_pb2 as triton

from atoll.errors import CancelledError, InternalError
from atoll.frontends.grpc.transport import Compression
from atoll.request import InferenceResponse


def refusal(stub, request):
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(request, timeout=20)
    return refused.value.code().name, refused.value.details()


def values(answer):
    return np.frombuffer(answer.raw_output_contents[0], np.float32).tolist()


@pytest.mark.parametrize("model", ["at_once", "soon", "thread"])
def test_an_answer_whenever_it_comes(serving, ask, model):
    answer = serving.stub.ModelInfer(ask(model, "q1", [1.5, 2.5]))
    assert (answer.model_name, answer.model_version, answer.id) == (model, "1", "q1")
    assert (answer.outputs[0].name, answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (
        "OUT",
        "FP32",
        [1, 2],
    )
    assert values(answer) == [1.5, 2.5]
    assert not answer.parameters


def test_a_large_tensor_there_and_back(serving, ask):
    array = np.random.default_rng(1).random(1_000_000, np.float32)
    answer = serving.stub.ModelInfer(ask("soon", values=array))
    assert answer.raw_output_contents[0] == array.tobytes()


def test_tritonclient(serving):
    with InferenceServerClient(serving.address) as client:
        tensor = InferInput("IN", [1, 3], "FP32")
        tensor.set_data_from_numpy(np.array([[1, 2, 3]], np.float32))
        result = client.infer("thread", [tensor], request_id="q", parameters={"mine": 1})
        assert result.as_numpy("OUT").tolist() == [[1, 2, 3]]
        assert result.get_response().id == "q"


def test_what_a_model_is_given(serving, ask):
    message = ask("held", "q")
    message.parameters["mine"].string_param = "x"
    message.parameters["timeout"].int64_param = 5
    message.parameters["priority"].uint64_param = 2
    message.outputs.add(name="OUT")
    future = serving.stub.ModelInfer.future(message)
    request = serving.engine.models_by_name["held"].next()
    assert request.parameters == {"mine": "x"}
    assert (request.timeout_us, request.priority, request.output_names, request.id) == (5, 2, ("OUT",), "q")
    request.sender.send(InferenceResponse("held", "1", "q"), True)
    assert future.result(20).id == "q"


def test_answers_may_come_in_any_order(serving, ask):
    held = serving.engine.models_by_name["held"]
    futures = [serving.stub.ModelInfer.future(ask("held", str(number))) for number in range(8)]
    requests = {request.id: request for request in (held.next() for _ in futures)}
    for id in "73516240":
        requests[id].sender.send(InferenceResponse("held", "1", id), True)
        assert futures[int(id)].result(20).id == id


def test_a_response_may_come_before_its_end(serving, ask):
    future = serving.stub.ModelInfer.future(ask("held"))
    request = serving.engine.models_by_name["held"].next()
    request.sender.send(InferenceResponse("held", "1", "q"), False)
    request.sender.send(None, True)
    assert future.result(20).id == "q"


def test_refusals(serving, ask):
    assert refusal(serving.stub, ask("nope")) == ("NOT_FOUND", "Request for unknown model: 'nope' is not found")
    other = ask("soon", "q")
    other.inputs[0].name = "X"
    assert refusal(serving.stub, other) == ("INVALID_ARGUMENT", "[request id: q] wrong inputs")
    other.raw_input_contents.pop()
    assert refusal(serving.stub, other)[1].startswith("unable to find data for input tensor 'X'")
    other.model_version = "x"
    assert refusal(serving.stub, other)[1].startswith("failed to get model version")
    assert refusal(serving.stub, ask("decoupled")) == (
        "UNIMPLEMENTED",
        "ModelInfer RPC doesn't support models with decoupled transaction policy",
    )


def test_a_model_that_fails(serving, ask):
    assert refusal(serving.stub, ask("failing")) == ("UNAVAILABLE", "told to fail")
    serving.engine.models_by_name["at_once"].answer = lambda request: request.sender.send(
        InferenceResponse("at_once", "1", error=InternalError("at once")), True
    )
    assert refusal(serving.stub, ask("at_once")) == ("INTERNAL", "at once")


def test_a_model_without_an_answer(serving, ask):
    assert refusal(serving.stub, ask("silent")) == ("INTERNAL", "the model ended the request without a response")


@pytest.mark.filterwarnings("default:::atoll")
def test_a_response_that_cannot_be_sent_does_not_leave_the_client_waiting(serving, ask):
    code, text = refusal(serving.stub, ask("unencodable"))
    assert code == "INTERNAL"
    assert "cannot be encoded" in text
    assert values(serving.stub.ModelInfer(ask("soon"))) == [1, 2]


def test_an_error_text_as_long_as_a_client_likes(serving, ask):
    code, text = refusal(serving.stub, ask("n" * 100_000))
    assert code == "NOT_FOUND"
    assert text.startswith("Request for unknown model: 'nnn")


@pytest.mark.parametrize("withdraw", ["cancel", "deadline", "disconnect"])
def test_a_client_that_gives_up_cancels_its_request(serving, ask, withdraw):
    held = serving.engine.models_by_name["held"]
    if withdraw == "disconnect":
        channel = serving.channel()
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        future = infer.future(ask("held").SerializeToString())
        request = held.next()
        channel.close()
    else:
        future = serving.stub.ModelInfer.future(ask("held"), timeout=0.3 if withdraw == "deadline" else 20)
        request = held.next()
        if withdraw == "cancel":
            future.cancel()
    serving.eventually(lambda: request.cancelled)
    request.sender.send(InferenceResponse("held", "1", error=CancelledError("withdrawn")), True)
    assert values(serving.stub.ModelInfer(ask("soon"))) == [1, 2]


def test_draining_answers_what_is_in_flight(serving, ask):
    future = serving.stub.ModelInfer.future(ask("held", "q"))
    request = serving.engine.models_by_name["held"].next()
    drained = asyncio.run_coroutine_threadsafe(serving.frontend.drain(20), serving.loop)
    request.sender.send(InferenceResponse("held", "1", "q"), True)
    assert future.result(20).id == "q"
    drained.result(20)
    with pytest.raises(grpc.RpcError):
        serving.stub.ServerLive(triton.ServerLiveRequest(), timeout=20)


def test_compressed_responses(serve, ask):
    serving = serve(infer_response_compression=Compression.HIGH)
    array = np.zeros(100_000, np.float32)
    assert serving.stub.ModelInfer(ask("soon", values=array)).raw_output_contents[0] == array.tobytes()


def test_an_address_that_is_taken(serving, serve):
    with pytest.raises(OSError, match=str(serving.port)):
        serve(host="127.0.0.1", port=serving.port)


def test_many_clients_at_once(serving, ask):
    def one(number):
        model = ("at_once", "soon", "thread")[number % 3]
        return values(serving.stub.ModelInfer(ask(model, values=[number])))

    with ThreadPoolExecutor(8) as executor:
        assert list(executor.map(one, range(300))) == [[number] for number in range(300)]
