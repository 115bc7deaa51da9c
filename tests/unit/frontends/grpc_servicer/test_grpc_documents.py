"""The calls that ask what is served."""

import grpc
import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc import service_pb2 as triton

from atoll.errors import Code
from atoll.frontends.grpc.status import STATUS, text_of
from atoll.protocol.schema import message_class


def refusal(procedure, request, **options):
    with pytest.raises(grpc.RpcError) as refused:
        procedure(request, timeout=20, **options)
    return refused.value.code().name, refused.value.details()


def test_every_code_has_a_status():
    assert set(STATUS) == set(Code)


def test_a_long_text_is_cut():
    assert text_of(ValueError("x" * 2048)) == "x" * 2048
    assert text_of(ValueError("x" * 9999)) == "x" * 2048 + "... (9999 characters)"


def test_the_schema_is_that_of_tritons_clients():
    def shape(descriptor):
        return [
            (
                field.number,
                field.name,
                field.type,
                field.is_repeated,
                field.message_type and field.message_type.full_name,
            )
            for field in descriptor.fields
        ], [shape(one) for one in descriptor.nested_types]

    names = triton.DESCRIPTOR.message_types_by_name
    assert len(names) > 40
    for name, theirs in names.items():
        assert shape(message_class(f"inference.{name}").DESCRIPTOR) == shape(theirs), name


def test_the_service_is_that_of_tritons_clients():
    def methods(descriptor):
        return {
            one.name: (one.input_type.full_name, one.output_type.full_name, one.client_streaming, one.server_streaming)
            for one in descriptor.methods
        }

    theirs = triton.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    file = message_class("inference.ModelInferRequest").DESCRIPTOR.file
    assert methods(file.services_by_name["GRPCInferenceService"]) == methods(theirs)


def test_tritonclient_reads_every_document(serving):
    with InferenceServerClient(serving.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("held", "1")
        assert client.get_server_metadata(as_json=True) == {
            "name": "atoll",
            "version": "1.2.3",
            "extensions": ["statistics"],
        }
        tensor = {"datatype": "FP32", "shape": ["-1", "-1"]}
        assert client.get_model_metadata("held", as_json=True) == {
            "name": "held",
            "versions": ["1"],
            "platform": "test",
            "inputs": [{"name": "IN", **tensor}],
            "outputs": [{"name": "OUT", **tensor}],
        }
        config = client.get_model_config("decoupled").config
        assert config.max_batch_size == 8
        assert config.input[0].data_type == 11
        assert config.model_transaction_policy.decoupled


def test_statistics(serving):
    answer = serving.stub.ModelStatistics(triton.ModelStatisticsRequest(name="held"))
    expected = """model_stats { name: "held" version: "1" inference_count: 4 execution_count: 1
      inference_stats { success { count: 4 ns: 99 } fail {} queue {} compute_input {} compute_infer {} compute_output {}
        cache_hit {} cache_miss {} }
      batch_stats { batch_size: 4 compute_input { count: 1 ns: 2 } compute_infer { count: 1 ns: 3 }
        compute_output { count: 1 ns: 4 } } memory_usage { type: "CPU" byte_size: 4096 } }"""
    assert answer == text_format.Parse(expected, triton.ModelStatisticsResponse())
    assert len(serving.stub.ModelStatistics(triton.ModelStatisticsRequest()).model_stats) > 5


def test_a_server_that_is_not_ready(serving):
    serving.engine.is_ready = False
    assert not serving.stub.ServerReady(triton.ServerReadyRequest()).ready
    assert serving.stub.ServerLive(triton.ServerLiveRequest()).live
    check = serving.channel().unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"") == b"\x08\x02"  # NOT_SERVING
    serving.engine.is_ready = True
    assert check(b"\x0a\x03any") == b"\x08\x01"  # SERVING


def test_models_that_do_not_exist(serving):
    stub = serving.stub
    unknown = ("NOT_FOUND", "Request for unknown model: 'nope' is not found")
    assert not stub.ModelReady(triton.ModelReadyRequest(name="nope")).ready
    assert not stub.ModelReady(triton.ModelReadyRequest(name="held", version="7")).ready
    assert refusal(stub.ModelMetadata, triton.ModelMetadataRequest(name="nope")) == unknown
    assert refusal(stub.ModelConfig, triton.ModelConfigRequest(name="nope")) == unknown
    assert refusal(stub.ModelStatistics, triton.ModelStatisticsRequest(name="nope")) == (
        "INVALID_ARGUMENT",
        "requested model 'nope' is not available",
    )


@pytest.mark.parametrize("call", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_versions_that_are_no_numbers(serving, call):
    request = getattr(triton, f"{call}Request")(name="held", version="x")
    assert refusal(getattr(serving.stub, call), request) == (
        "INVALID_ARGUMENT",
        "failed to get model version from specified version string 'x' (details: stol), "
        "version should be an integral value > 0",
    )


def test_every_call_of_the_service_has_an_answer(serving):
    service = triton.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    unary = [one.name for one in service.methods if not one.client_streaming]
    for name in unary:
        request = getattr(triton, f"{name}Request")()
        try:
            getattr(serving.stub, name)(request, timeout=20)
        except grpc.RpcError as error:
            assert error.details(), name  # an unknown path has none


@pytest.mark.parametrize("call", ["ServerLive", "ModelConfig", "ModelInfer"])
def test_bytes_that_are_no_message(serving, call):
    procedure = serving.channel().unary_unary(f"/inference.GRPCInferenceService/{call}")
    assert refusal(procedure, b"\xff\xff\xff") == ("INTERNAL", "Unable to parse request")
