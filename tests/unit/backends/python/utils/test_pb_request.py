"""InferenceRequest: the ones that a model makes, and the ones that it receives."""

import json
from typing import Any

import numpy as np
import pytest
from tests.unit.backends.python.utils.model_host import RecordedDelivery, floats, received, request_to

from atoll.backends.python.utils import (
    TRITONSERVER_MEMORY_CPU,
    TRITONSERVER_REQUEST_RELEASE_ALL,
    TRITONSERVER_REQUEST_RELEASE_RESCHEDULE,
    InferenceRequest,
    InferenceResponse,
    InferenceTrace,
    PreferredMemory,
    Tensor,
    TritonError,
    TritonModelException,
)


def test_a_made_request_has_what_it_was_given() -> None:
    tensor = Tensor("INPUT", floats(1))
    memory = PreferredMemory(TRITONSERVER_MEMORY_CPU, 1)
    request = InferenceRequest(
        "id",
        5,
        [tensor],
        ["B", "A", "B"],
        "other",
        3,
        1,
        70,
        memory,
        InferenceTrace("{}"),
        {"a": 1, "b": "x", "c": True},
    )
    assert (request.request_id(), request.correlation_id(), request.flags(), request.timeout()) == ("id", 5, 1, 70)
    assert request.inputs() == [tensor]
    assert request.tensors == [tensor.inner]
    assert request.requested_output_names() == {"A", "B"}
    assert request.output_names == ("B", "A")
    assert (request.model_name, request.model_version) == ("other", "3")
    assert (request.preferred_memory, request.trace().get_context()) == (memory, "{}")
    assert request.parameters() == '{"a": 1, "b": "x", "c": true}'


def test_what_is_not_given_has_its_default() -> None:
    request = request_to()
    assert (request.request_id(), request.correlation_id(), request.flags(), request.timeout()) == ("", 0, 0, 0)
    assert (request.parameters(), request.trace().get_context(), request.model_version) == ("{}", None, "")
    assert request_to(requested_output_names=[]).requested_output_names() == set()
    assert not request.is_cancelled()


def test_integers_and_strings_of_other_kinds_are_converted() -> None:
    request = request_to(
        request_id=b"id", flags=np.uint32(2), timeout=np.int64(5), model_version=np.int64(1), correlation_id=True
    )
    assert [type(one) for one in (request.flags(), request.timeout(), request.correlation_id())] == [int, int, int]
    assert (request.request_id(), request.flags(), request.timeout(), request.model_version) == ("id", 2, 5, "1")
    assert request_to(correlation_id="sequence").correlation_id() == "sequence"


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": None},
        {"inputs": Tensor("X", floats(1))},
        {"inputs": [floats(1)]},
        {"requested_output_names": None},
        {"requested_output_names": "OUTPUT"},
        {"requested_output_names": {"OUTPUT"}},
        {"requested_output_names": [1]},
        {"model_name": None},
        {"model_name": 3},
        {"model_version": "1"},
        {"model_version": 1.5},
        {"model_version": 2**63},
        {"request_id": None},
        {"correlation_id": None},
        {"flags": -1},
        {"flags": 2**32},
        {"flags": "a"},
        {"timeout": -1},
        {"timeout": 1.5},
        {"timeout": 2**64},
        {"preferred_memory": 3},
        {"trace": "text"},
    ],
)
def test_arguments_of_other_types_are_type_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as raised:
        request_to(**wrong)
    assert str(raised.value).startswith(
        "__init__(): incompatible constructor arguments. The following argument types are supported:\n"
        "    1. c_python_backend_utils.InferenceRequest(request_id: str = '', correlation_id: object = 0, "
    )
    assert "\n\nInvoked with: kwargs: request_id=" in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (
            {"inputs": [None]},
            TritonModelException,
            "Input tensor for request with id '' and model name 'other' should not be empty.",
        ),
        (
            {"requested_output_names": [""], "request_id": "7"},
            TritonModelException,
            "Requested output name for request with id '7' and model name 'other' should not be empty.",
        ),
        ({"correlation_id": 1.5}, TritonModelException, "Correlation ID must be integer or string"),
        ({"correlation_id": np.int64(5)}, TritonModelException, "Correlation ID must be integer or string"),
        ({"correlation_id": 2**64}, RuntimeError, "correlation ID 18446744073709551616 is no unsigned 64-bit integer"),
        ({"correlation_id": -1}, RuntimeError, "correlation ID -1 is no unsigned 64-bit integer"),
        (
            {"parameters": {"a": 1.5}},
            TritonModelException,
            "Expect parameters values to have type bool/int/str, found type <class 'float'>",
        ),
        (
            {"parameters": {"a": None}},
            TritonModelException,
            "Expect parameters values to have type bool/int/str, found type <class 'NoneType'>",
        ),
        (
            {"parameters": {1: 2}},
            TritonModelException,
            "Expect parameters keys to have type str, found type <class 'int'>",
        ),
        ({"parameters": [1]}, TritonModelException, "Expect dict, got <class 'list'>"),
    ],
)
def test_wrong_values_are_named(wrong: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        request_to(**wrong)
    assert str(raised.value) == text


def test_parameters_are_copied() -> None:
    parameters = {"a": 1}
    request = request_to(parameters=parameters)
    parameters["b"] = 2
    assert json.loads(request.parameters()) == {"a": 1}


def test_a_received_request_has_what_the_server_says() -> None:
    request = received(
        RecordedDelivery(),
        model_name="this",
        model_version="2",
        request_id="id",
        correlation_id="sequence",
        flags=3,
        timeout=9,
        parameters={"a": 1, "b": "ä", "c": 1.5},
        requested_output_names=["B"],
        trace_context='{"traceparent":"00-1"}',
    )
    assert (request.request_id(), request.correlation_id(), request.flags()) == ("id", "sequence", 3)
    assert (request.timeout(), request.model_name, request.model_version) == (9, "this", "2")
    assert request.parameters() == '{"a":1,"b":"ä","c":1.5}'
    assert request.requested_output_names() == {"B"}
    assert request.trace().get_context() == '{"traceparent":"00-1"}'


def test_inputs_are_the_same_objects_in_a_list_of_the_callers() -> None:
    request = received(RecordedDelivery())
    inputs = request.inputs()
    assert request.inputs()[0] is inputs[0]
    inputs.clear()
    assert len(request.inputs()) == 1


@pytest.mark.parametrize("function", ["set_flags", "set_release_flags"])
@pytest.mark.parametrize("wrong", ["a", -1, 2**32, None, 1.5])
def test_flags_are_unsigned_integers(function: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{function}\(\): incompatible function arguments"):
        getattr(request_to(), function)(wrong)


def test_flags_can_be_set() -> None:
    request = received(RecordedDelivery())
    request.set_flags(3)
    assert request.flags() == 3
    assert request.release_flags == TRITONSERVER_REQUEST_RELEASE_ALL
    request.set_release_flags(TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
    assert request.release_flags == 2


def test_a_request_ends_once() -> None:
    delivery = RecordedDelivery()
    request = received(delivery)
    response = InferenceResponse([Tensor("OUTPUT", floats(1))])
    assert not request.is_finished()
    assert request.finish(response)
    assert delivery.sent == [(response, True)]
    assert request.is_finished()
    assert not request.finish(InferenceResponse([], TritonError("late")))
    assert not request.reschedule()
    with pytest.raises(TritonModelException, match="Response sender has been closed"):
        request.get_response_sender().send(flags=1)
    assert len(delivery.sent) == 1


def test_a_request_can_be_given_back_once() -> None:
    delivery = RecordedDelivery()
    request = received(delivery)
    assert request.reschedule()
    assert (delivery.rescheduled, request.is_finished()) == (1, True)
    assert not request.reschedule()
    assert not request.finish(None)


def test_only_requested_outputs_are_sent() -> None:
    delivery = RecordedDelivery()
    response = InferenceResponse([Tensor("A", floats(1)), Tensor("B", floats(2))], parameters={"p": 1})
    received(delivery, requested_output_names=["B", "C"]).finish(response)
    sent = delivery.sent[0][0]
    assert sent is not None
    assert [tensor.name for tensor in sent.tensors] == ["B"]
    assert sent.parameter_values == {"p": 1}
    assert [tensor.name() for tensor in response.output_tensors()] == ["A", "B"]  # the model's own object stays


def test_cancellation_is_asked_of_the_delivery() -> None:
    delivery = RecordedDelivery()
    request = received(delivery)
    assert not request.is_cancelled()
    delivery.cancelled = True
    assert request.is_cancelled()
    assert request.get_response_sender().is_cancelled()


def test_a_made_request_has_no_sender() -> None:
    with pytest.raises(TritonModelException, match="made by the model itself"):
        request_to().get_response_sender()
    assert not request_to().finish(None)
