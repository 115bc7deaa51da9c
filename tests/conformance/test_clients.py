"""The official clients, over HTTP and gRPC, synchronous and asynchronous: the same tests through each."""

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
from tests.conformance.clients import KINDS, AnyClient, any_client, pair
from tests.conformance.models import DATA_TYPES
from tests.conformance.process import ServerProcess
from tritonclient.utils import InferenceServerException

SAMPLES = {
    "bool": np.array([[True, False, True]]),
    "uint8": np.array([[0, 1, 255]], np.uint8),
    "uint16": np.array([[0, 1, 65535]], np.uint16),
    "uint32": np.array([[0, 1, 2**32 - 1]], np.uint32),
    "uint64": np.array([[0, 1, 2**64 - 1]], np.uint64),
    "int8": np.array([[-128, 0, 127]], np.int8),
    "int16": np.array([[-32768, 0, 32767]], np.int16),
    "int32": np.array([[-(2**31), 0, 2**31 - 1]], np.int32),
    "int64": np.array([[-(2**63), 0, 2**63 - 1]], np.int64),
    "fp16": np.array([[1.5, -0.0, 65504.0]], np.float16),
    "fp32": np.array([[1.1, -0.0, 3.4e38]], np.float32),
    "fp64": np.array([[1.1, -0.0, 1.7e308]], np.float64),
    "bytes": np.array([[b"abc", "é😀".encode(), b""]], np.object_),
    "bf16": np.array([[1.5, -2.0, 2.0**100]], ml_dtypes.bfloat16),
}
# JSON has no form for 16-bit floats; test_http_answers.py has the refusal.
FORMS = [(name, binary) for name in DATA_TYPES for binary in (True, False) if binary or name not in ("fp16", "bf16")]


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, atoll: ServerProcess) -> Iterator[AnyClient]:
    with any_client(request.param, atoll) as client:
        yield client


def test_there_is_a_sample_of_every_data_type() -> None:
    assert set(SAMPLES) == set(DATA_TYPES)


def test_health(client: AnyClient) -> None:
    assert client.call("is_server_live")
    assert client.call("is_server_ready")
    assert client.call("is_model_ready", "simple")
    assert client.call("is_model_ready", "two_versions", "3")
    assert not client.call("is_model_ready", "two_versions", "2")
    assert not client.call("is_model_ready", "nope")


def test_server_metadata(client: AnyClient) -> None:
    metadata = client.call("get_server_metadata")
    assert metadata["name"] == "triton"
    assert {"classification", "sequence", "schedule_policy", "binary_tensor_data", "statistics"} <= set(
        metadata["extensions"]
    )


def test_model_metadata(client: AnyClient) -> None:
    metadata = client.call("get_model_metadata", "simple")
    assert (metadata["name"], metadata["versions"]) == ("simple", ["1"])
    assert [one["name"] for one in metadata["inputs"]] == ["INPUT0", "INPUT1"]
    assert {one["datatype"] for one in metadata["inputs"] + metadata["outputs"]} == {"INT32"}
    assert [int(size) for size in metadata["outputs"][1]["shape"]] == [-1, 16]
    assert client.call("get_model_metadata", "two_versions")["versions"] == ["1", "3"]


def test_model_config(client: AnyClient) -> None:
    config = client.config("simple")
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("simple", "onnxruntime", 8)
    assert config["dynamic_batching"]["preferred_batch_size"] == [8]
    assert config["instance_group"][0]["kind"] == "KIND_CPU"


def test_statistics_count_requests_and_executions(client: AnyClient) -> None:
    def counted() -> tuple[int, int]:
        document = client.call("get_inference_statistics", "simple_nobatch")
        (statistics,) = document["model_stats"]
        success = int(statistics.get("inference_stats", {}).get("success", {}).get("count", 0))
        return int(statistics.get("inference_count", 0)), success

    inferences, requests = counted()
    for _ in range(3):
        client.infer("simple_nobatch", pair())
    assert counted() == (inferences + 3, requests + 3)
    names = {one["name"] for one in client.call("get_inference_statistics")["model_stats"]}
    assert {"simple", "preferred", "identity_bytes"} <= names


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_infer(client: AnyClient, binary_in: bool, binary_out: bool) -> None:
    arrays = pair(rows=3, start=-20)
    result = client.infer("simple", arrays, binary_in, outputs=client.outputs("OUTPUT0", "OUTPUT1", binary=binary_out))
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), arrays["INPUT0"] + 1)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), arrays["INPUT0"] - 1)
    assert result.as_numpy("OUTPUT0").dtype == np.int32


@pytest.mark.parametrize(("name", "binary"), FORMS)
def test_every_data_type_comes_back_as_it_went(client: AnyClient, name: str, binary: bool) -> None:
    sample = SAMPLES[name]
    data_type = "BYTES" if name == "bytes" else name.upper()
    outputs = client.outputs("OUTPUT0", binary=binary)
    result = client.infer(f"identity_{name}", {"INPUT0": (sample, data_type)}, binary, outputs=outputs)
    got = result.as_numpy("OUTPUT0")
    assert got.shape == sample.shape
    if name == "bytes" and not binary:
        got = np.array([[one.encode() if isinstance(one, str) else one for one in row] for row in got], np.object_)
    np.testing.assert_array_equal(got, sample)


def test_strings_may_hold_a_nul(client: AnyClient) -> None:
    sample = np.array([[b"a\0b", b"\0"]], np.object_)
    result = client.infer("identity_bytes", {"INPUT0": (sample, "BYTES")})
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), sample)


def test_no_elements(client: AnyClient) -> None:
    result = client.infer("identity_fp32", {"INPUT0": np.zeros((2, 0), np.float32)})
    assert result.as_numpy("OUTPUT0").shape == (2, 0)


def test_id_model_and_version_come_back(client: AnyClient) -> None:
    arrays = {"INPUT0": np.ones(16, np.float32)}
    result = client.infer("two_versions", arrays, request_id="my id", model_version="1")
    response = result.get_response()
    if client.protocol == "http":
        assert (response["id"], response["model_name"], response["model_version"]) == ("my id", "two_versions", "1")
    else:
        assert (response.id, response.model_name, response.model_version) == ("my id", "two_versions", "1")


def test_only_the_outputs_that_are_asked_for(client: AnyClient) -> None:
    result = client.infer("simple", pair(), outputs=client.outputs("OUTPUT1"))
    assert result.as_numpy("OUTPUT0") is None
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), pair()["INPUT0"] - 1)


def test_one_output_as_classes_and_another_as_it_is(client: AnyClient) -> None:
    outputs = [client.module.InferRequestedOutput("OUTPUT0", class_count=2), *client.outputs("OUTPUT1")]
    result = client.infer("simple", pair(rows=2), outputs=outputs)
    assert result.as_numpy("OUTPUT0").tolist() == [[b"16:15", b"15:14"], [b"32:15", b"31:14"]]
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), pair(rows=2)["INPUT0"] - 1)


def test_parameters_of_a_request_are_taken(client: AnyClient) -> None:
    parameters = {"text": "x", "number": 7, "flag": True}
    result = client.infer("simple", pair(), parameters=parameters, priority=1, timeout=10_000_000)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), pair()["INPUT0"] + 1)


def test_a_tensor_of_a_megabyte(client: AnyClient) -> None:
    sample = np.random.default_rng(0).standard_normal((4, 65536)).astype(np.float32)
    result = client.infer("identity_fp32", {"INPUT0": sample})
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), sample)


@pytest.mark.parametrize(
    ("model", "arrays", "http", "grpc", "text"),
    [
        ("nope", pair(), "404", "StatusCode.NOT_FOUND", "Request for unknown model: 'nope' is not found"),
        (
            "simple",
            {"INPUT0": pair()["INPUT0"]},
            "400",
            "StatusCode.INVALID_ARGUMENT",
            "expected 2 inputs but got 1 inputs",
        ),
        (
            "simple",
            pair(rows=9),
            "400",
            "StatusCode.INVALID_ARGUMENT",
            "inference request batch-size must be <= 8 for 'simple'",
        ),
        ("failing", {"INPUT0": np.array([5, 6], np.int32)}, None, None, ""),
    ],
    ids=["unknown model", "an input missing", "batch too large", "execution fails"],
)
def test_errors(client: AnyClient, model: str, arrays: dict[str, object], http: str, grpc: str, text: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, arrays)
    expected = http if client.protocol == "http" else grpc
    if expected is not None:
        assert caught.value.status() == expected
    assert text in caught.value.message()
    assert caught.value.message()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: AnyClient, algorithm: str) -> None:
    options = (
        {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        if client.protocol == "http"
        else {"compression_algorithm": algorithm}
    )
    arrays = pair(rows=8)
    result = client.infer("simple", arrays, **options)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), arrays["INPUT0"] + 1)
