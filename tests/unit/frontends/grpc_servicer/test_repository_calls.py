"""Loading, unloading and listing models over gRPC."""

import threading

import grpc
import pytest
from tests.unit.frontends.fake_repository import WAIT_S
from tests.unit.frontends.grpc_servicer.test_grpc_documents import refusal
from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc import service_pb2 as triton


def load(name, **parameters):
    return triton.RepositoryModelLoadRequest(model_name=name, **parameters)


def entered(serving, count=1):
    for _ in range(count):
        assert serving.engine.entered.acquire(timeout=WAIT_S)


def test_tritonclient_loads_unloads_and_lists(serving):
    with InferenceServerClient(serving.address) as client:
        client.load_model("held", config="{}", files={"file:1/model.onnx": b"onnx"})
        client.load_model("held")
        client.unload_model("held", unload_dependents=True)
        client.unload_model("held")
        index = client.get_model_repository_index(as_json=True)
    assert serving.engine.calls == [
        ("load", "held", "{}", {"1/model.onnx": b"onnx"}),
        ("load", "held", "", None),
        ("unload", "held", True),
        ("unload", "held", False),
    ]
    assert index == {
        "models": [
            {"name": "broken", "version": "1", "state": "UNAVAILABLE", "reason": "Internal: told to fail"},
            {"name": "echo", "version": "1", "state": "READY"},
            {"name": "never"},
        ]
    }


def test_the_index(serving):
    stub = serving.stub
    assert [one.name for one in stub.RepositoryIndex(triton.RepositoryIndexRequest(ready=True)).models] == ["echo"]
    refused = refusal(stub.RepositoryIndex, triton.RepositoryIndexRequest(repository_name="x"))
    assert refused == ("UNIMPLEMENTED", "'repository_name' specification is not supported")


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (load("unknown"), "INTERNAL", "failed to load 'unknown', failed to poll from model repository"),
        (load("bug"), "INTERNAL", "ZeroDivisionError: by zero"),
        (load("echo", repository_name="x"), "UNIMPLEMENTED", "'repository_name' specification is not supported"),
        (
            load("echo", parameters={"other": triton.ModelRepositoryParameter(string_param="x")}),
            "INVALID_ARGUMENT",
            "unrecognized load parameter 'other'.",
        ),
    ],
)
def test_refusals(serving, request_, code, text):
    assert refusal(serving.stub.RepositoryModelLoad, request_) == (code, text)


def test_bytes_that_are_no_message(serving):
    call = serving.channel().unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
    assert refusal(call, b"\xff\xff") == ("INTERNAL", "Unable to parse request")
    assert not serving.engine.calls


def test_everything_else_goes_on_while_a_model_loads(serving, ask):
    loading = serving.stub.RepositoryModelLoad.future(load("slow"))
    entered(serving)
    assert serving.stub.ModelInfer(ask("at_once")).model_name == "at_once"
    assert serving.stub.RepositoryIndex(triton.RepositoryIndexRequest()).models
    serving.stub.RepositoryModelUnload(triton.RepositoryModelUnloadRequest(model_name="held"))
    assert not loading.done()
    serving.engine.let_go.set()
    loading.result(WAIT_S)


def test_who_gives_up_before_its_call_has_begun(serving):
    loading = [serving.stub.RepositoryModelLoad.future(load(f"slow{number}")) for number in range(8)]
    entered(serving, 8)
    queued = serving.stub.RepositoryModelLoad.future(load("ninth"), timeout=0.2)
    assert queued.exception(WAIT_S).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    serving.eventually(lambda: serving.frontend.calls_in_flight == 8)
    serving.engine.let_go.set()
    for one in loading:
        one.result(WAIT_S)
    serving.stub.RepositoryModelLoad(load("last"))
    assert ("load", "ninth", "", None) not in serving.engine.calls


def test_draining_finishes_what_has_begun_and_refuses_what_has_not(serving):
    begun = [serving.stub.RepositoryModelLoad.future(load(f"slow{number}")) for number in range(8)]
    entered(serving, 8)
    queued = serving.stub.RepositoryModelLoad.future(load("ninth"))
    serving.stub.ServerLive(triton.ServerLiveRequest())  # what was sent before has arrived
    draining = threading.Thread(target=serving.run, args=(serving.frontend.drain(WAIT_S),))
    draining.start()
    assert queued.exception(WAIT_S).code() is grpc.StatusCode.UNAVAILABLE
    serving.engine.let_go.set()
    for one in begun:
        one.result(WAIT_S)
    draining.join(WAIT_S)
    assert not draining.is_alive()


def test_a_load_that_does_not_end_does_not_keep_the_server_from_stopping(serving):
    loading = serving.stub.RepositoryModelLoad.future(load("slow"))
    entered(serving)
    serving.run(serving.frontend.drain(0.05))
    assert loading.exception(WAIT_S) is not None
    serving.engine.let_go.set()
