"""The module's functions, its names, and what stands behind other models' loading."""

import json
import pickle
import struct
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.backends.python.utils.model_host import AnsweringHost, RecordedDelivery, floats, received

import triton_python_backend_utils as pb_utils
from atoll.backends.python import utils
from atoll.backends.python.utils.current import offer_host, set_process_host, use_host
from atoll.errors import NotFoundError
from atoll.tensor import DataType, unpack_bytes

REAL_NAMES = [
    "InferenceRequest",
    "InferenceResponse",
    "Logger",
    "MetricFamily",
    "ModelConfig",
    "PreferredMemory",
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
    "TRITONSERVER_REQUEST_RELEASE_ALL",
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
    "TRITON_STRING_TO_NUMPY",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "deserialize_bytes_tensor",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_model_dir",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "is_model_ready",
    "load_model",
    "numpy_to_triton_type",
    "serialize_byte_tensor",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "unload_model",
    "using_decoupled_model_transaction_policy",
]


def test_the_module_has_the_real_ones_names() -> None:
    assert set(REAL_NAMES) <= set(utils.__all__)
    for name in utils.__all__:
        assert getattr(pb_utils, name) is getattr(utils, name)


def test_classes_are_shown_and_pickled_under_the_modules_name() -> None:
    assert repr(pb_utils.InferenceResponse) == "<class 'triton_python_backend_utils.InferenceResponse'>"
    error = pickle.loads(pickle.dumps(pb_utils.TritonModelException("why")))
    assert type(error) is utils.TritonModelException
    assert pickle.loads(pickle.dumps(pb_utils.TRITONSERVER_MEMORY_CPU)) is pb_utils.TRITONSERVER_MEMORY_CPU


def test_constants() -> None:
    assert [
        pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START,
        pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END,
        pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
        pb_utils.TRITONSERVER_REQUEST_RELEASE_ALL,
        pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE,
        pb_utils.TRITONSERVER_MEMORY_GPU,
        pb_utils.TRITONSERVER_MEMORY_CPU,
    ] == [1, 2, 1, 1, 2, 0, 1]
    assert repr(pb_utils.TRITONSERVER_MEMORY_CPU) == "<MemoryType.TRITONSERVER_MEMORY_CPU: 1>"


def test_tensors_are_found_by_name() -> None:
    request = received(RecordedDelivery())
    assert pb_utils.get_input_tensor_by_name(request, "INPUT") is request.inputs()[0]
    assert pb_utils.get_input_tensor_by_name(request, "OTHER") is None
    response = pb_utils.InferenceResponse([pb_utils.Tensor("A", floats(1)), pb_utils.Tensor("B", floats(2))])
    found = pb_utils.get_output_tensor_by_name(response, "B")
    assert found is not None
    assert found.as_numpy().tolist() == [2]
    assert pb_utils.get_output_tensor_by_name(response, "C") is None


def test_configurations_are_found_by_name() -> None:
    config = {"input": [{"name": "A"}], "output": [{"name": "B", "dims": [1]}]}
    assert pb_utils.get_input_config_by_name(config, "A") == {"name": "A"}
    assert pb_utils.get_output_config_by_name(config, "B") == {"name": "B", "dims": [1]}
    assert pb_utils.get_output_config_by_name(config, "A") is None
    assert pb_utils.get_input_config_by_name({}, "A") is None


def test_decoupled_is_read_from_the_configuration() -> None:
    assert pb_utils.using_decoupled_model_transaction_policy({"model_transaction_policy": {"decoupled": True}})
    assert not pb_utils.using_decoupled_model_transaction_policy({"model_transaction_policy": {"decoupled": False}})
    assert not pb_utils.using_decoupled_model_transaction_policy({})


@pytest.mark.parametrize("datatype", [one for one in DataType if one not in (DataType.INVALID, DataType.BF16)])
def test_types_have_numbers_and_names(datatype: DataType) -> None:
    scalar = pb_utils.triton_to_numpy_type(datatype.number)
    assert scalar is datatype.dtype.type
    assert pb_utils.numpy_to_triton_type(scalar) == datatype.number
    assert pb_utils.numpy_to_triton_type(datatype.dtype) == datatype.number
    named = pb_utils.triton_string_to_numpy(datatype.config_name)
    assert np.dtype(named) == datatype.dtype


def test_what_is_no_type() -> None:
    assert pb_utils.triton_to_numpy_type(0) is None
    assert pb_utils.triton_to_numpy_type(DataType.BF16.number) is None
    assert [pb_utils.numpy_to_triton_type(one) for one in (None, "float32", np.complex64, np.str_, float)] == [None] * 5
    assert pb_utils.numpy_to_triton_type(np.bytes_) == pb_utils.numpy_to_triton_type(np.dtype("S3")) == 13
    with pytest.raises(KeyError):
        pb_utils.triton_string_to_numpy("FP32")


@given(st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=20)), min_size=1, max_size=20))
def test_packed_bytes_come_back(elements: list[Any]) -> None:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    packed = pb_utils.serialize_byte_tensor(array.reshape(1, -1))
    assert isinstance(packed, bytes)
    expected = [one if isinstance(one, bytes) else one.encode() for one in elements]
    assert pb_utils.deserialize_bytes_tensor(packed).tolist() == expected
    assert unpack_bytes(packed, len(expected), "X") == expected


@given(st.binary(max_size=64))
def test_bytes_that_were_packed_by_nobody(packed: bytes) -> None:
    try:
        elements = pb_utils.deserialize_bytes_tensor(packed)
    except struct.error:
        return
    assert sum(4 + len(element) for element in elements) == len(packed)


def test_what_serializes_to_nothing() -> None:
    assert pb_utils.serialize_byte_tensor(np.array([], dtype=object)) == ()
    assert pb_utils.serialize_byte_tensor(np.array([1])) is None


def test_other_models_are_loaded_by_the_server() -> None:
    host = AnsweringHost()
    with use_host(host):
        pb_utils.load_model("m")
        pb_utils.load_model("m", config="{}", files={"file:1/model.py": b"x"})
        pb_utils.unload_model("m", unload_dependents=True)
        assert pb_utils.is_model_ready(model_name="m", model_version="2")
    assert host.said == [
        ("load_model", "m", "", None),
        ("load_model", "m", "{}", {"file:1/model.py": b"x"}),
        ("unload_model", "m", True),
        ("is_model_ready", "m", "2"),
    ]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: pb_utils.load_model(5), TypeError, "load_model(): incompatible function arguments"),  # type: ignore[arg-type]
        (lambda: pb_utils.load_model("m", 5), TypeError, "load_model(): incompatible function arguments"),  # type: ignore[arg-type]
        (
            lambda: pb_utils.load_model("m", files=[1]),  # type: ignore[arg-type]
            pb_utils.TritonModelException,
            "failed to load model 'm', files should be a dictionary of file paths and file contents",
        ),
        (
            lambda: pb_utils.load_model("m", files={"file:a": "text"}),  # type: ignore[dict-item]
            TypeError,
            "Object of type 'str' is not an instance of 'bytes'",
        ),
        (lambda: pb_utils.load_model("m", files={1: b""}), RuntimeError, "a file's path is a str"),  # type: ignore[dict-item]
        (lambda: pb_utils.unload_model(5), TypeError, "unload_model(): incompatible function arguments"),  # type: ignore[arg-type]
        (lambda: pb_utils.unload_model("m", "x"), TypeError, "unload_model(): incompatible function arguments"),  # type: ignore[arg-type]
        (lambda: pb_utils.is_model_ready("m", 1), TypeError, "is_model_ready(): incompatible function arguments"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_reach_no_server(call: Any, error: type[Exception], text: str) -> None:
    host = AnsweringHost()
    with use_host(host), pytest.raises(error) as raised:
        call()
    assert str(raised.value).startswith(text)
    assert not host.said


def test_refusals_name_the_instance() -> None:
    host = AnsweringHost()
    host.refusal = NotFoundError("failed to load 'm', failed to poll from model repository")
    with use_host(host, "", "this_0_0"), pytest.raises(pb_utils.TritonModelException) as raised:
        pb_utils.load_model("m")
    assert str(raised.value) == (
        "Failed to load model: Failed to process the request for model 'this_0_0', message: failed to load 'm', failed "
        "to poll from model repository"
    )
    with use_host(host), pytest.raises(pb_utils.TritonModelException, match=r"^Failed to unload model: failed to load"):
        pb_utils.unload_model("m")


def test_the_models_directory_is_that_of_the_calling_model() -> None:
    with pytest.raises(pb_utils.TritonModelException):
        pb_utils.get_model_dir()
    host = AnsweringHost()
    with use_host(host, "/models/a/1"):
        with use_host(host, "/models/b/2"):
            assert pb_utils.get_model_dir() == "/models/b/2"
        assert pb_utils.get_model_dir() == "/models/a/1"


def test_a_models_own_thread_finds_the_processs_host() -> None:
    mine, process = AnsweringHost(), AnsweringHost()
    set_process_host(process, "/models/m/1")
    try:
        with use_host(mine):
            thread = threading.Thread(target=pb_utils.load_model, args=("m",))
            thread.start()
            thread.join()
            pb_utils.unload_model("m")
    finally:
        set_process_host(None)
    assert (len(process.said), len(mine.said)) == (1, 1)
    with pytest.raises(pb_utils.TritonModelException, match="no server is here to ask"):
        pb_utils.load_model("m")


def in_a_thread(function: Any) -> Any:
    """What it gives or raises in a thread that nobody said anything to."""
    results = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


def test_a_models_own_thread_finds_the_host_of_the_only_server() -> None:
    server, other = object(), object()
    first, second = AnsweringHost(), AnsweringHost()
    take_back_first = offer_host(first, "/models/a/1", server=server)
    assert in_a_thread(pb_utils.get_model_dir) == "/models/a/1"
    take_back_second = offer_host(second, "/models/b/1", server=server)
    assert in_a_thread(lambda: pb_utils.load_model("m")) is None
    assert second.said == [("load_model", "m", "", None)]
    assert "cannot be known in this thread" in str(in_a_thread(pb_utils.get_model_dir))
    take_back_other = offer_host(AnsweringHost(), server=other)
    assert "no server is here to ask" in str(in_a_thread(lambda: pb_utils.load_model("m")))
    for take_back in (take_back_other, take_back_second, take_back_second):
        take_back()
    in_a_thread(lambda: pb_utils.load_model("m"))
    assert first.said == [("load_model", "m", "", None)]
    take_back_first()
    assert isinstance(in_a_thread(lambda: pb_utils.load_model("m")), pb_utils.TritonModelException)


def test_requests_parameters_are_json() -> None:
    request = received(RecordedDelivery(), parameters={"a": 1})
    assert json.loads(request.parameters()) == {"a": 1}
