"""InferenceResponse."""

from typing import Any

import numpy as np
import pytest
from tests.unit.backends.python.utils.model_host import floats

from atoll.backends.python.utils import InferenceResponse, Tensor, TritonError, TritonModelException
from atoll.tensor import Tensor as Inner


def test_outputs_or_an_error() -> None:
    tensor = Tensor("OUTPUT", floats(1))
    response = InferenceResponse([tensor])
    assert response.output_tensors() == [tensor]
    assert (response.has_error(), response.error(), response.parameters()) == (False, None, "{}")
    assert response.tensors == [tensor.inner]
    failed = InferenceResponse(output_tensors=[], error=TritonError("why"))
    assert failed.has_error()
    assert failed.error() is failed.error_or_none
    assert InferenceResponse().output_tensors() == []
    assert InferenceResponse((tensor,)).output_tensors() == [tensor]


def test_the_outputs_are_a_list_of_the_response_and_one_of_the_caller() -> None:
    tensors = [Tensor("OUTPUT", floats(1))]
    response = InferenceResponse(tensors)
    tensors.clear()
    response.output_tensors().clear()
    assert len(response.output_tensors()) == 1


def test_parameters_go_with_it() -> None:
    response = InferenceResponse([], parameters={"a": 1, "b": "x", "c": True, "d": 1.5})
    assert response.parameters() == '{"a": 1, "b": "x", "c": true, "d": 1.5}'
    assert response.parameter_values == {"a": 1, "b": "x", "c": True, "d": 1.5}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"a": None}, "Expect parameters values to have type bool/int/float/str, found type <class 'NoneType'>"),
        (
            {"a": np.int64(1)},
            "Expect parameters values to have type bool/int/float/str, found type <class 'numpy.int64'>",
        ),
        ({1: 2}, "Expect parameters keys to have type str, found type <class 'int'>"),
        ("text", "Expect dict, got <class 'str'>"),
    ],
)
def test_wrong_parameters_are_named(parameters: Any, text: str) -> None:
    with pytest.raises(TritonModelException) as raised:
        InferenceResponse([], parameters=parameters)
    assert str(raised.value) == text


@pytest.mark.parametrize(
    "arguments",
    [
        (None,),
        (Tensor("X", floats(1)),),
        ({"a": 1},),
        (iter([]),),
        ([floats(1)],),
        ([], "error"),
        ([], ValueError("x")),
        ("text",),
    ],
)
def test_other_arguments_are_type_errors(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError) as raised:
        InferenceResponse(*arguments)
    assert str(raised.value).startswith(
        "__init__(): incompatible constructor arguments. The following argument types are supported:\n"
        "    1. c_python_backend_utils.InferenceResponse(output_tensors: List[c_python_backend_utils.Tensor] = [], "
        "error: c_python_backend_utils.TritonError = None)\n\nInvoked with: "
    )


def test_an_output_is_not_none() -> None:
    with pytest.raises(TritonModelException, match=r"^Output tensor for inference response should not be empty\.$"):
        InferenceResponse([None])  # type: ignore[list-item]


def test_subclasses_are_taken() -> None:
    class Named(Tensor):
        pass

    assert len(InferenceResponse([Named("X", floats(1))]).tensors) == 1


def test_a_received_response() -> None:
    response = InferenceResponse.received([Inner.from_numpy("OUTPUT", floats(3))], {"a": 1})
    assert response.output_tensors()[0].as_numpy().tolist() == [3]
    assert (response.has_error(), response.parameters()) == (False, '{"a": 1}')
    assert InferenceResponse.received([]).parameters() == "{}"


def test_pruning_keeps_the_response_where_nothing_is_to_go() -> None:
    response = InferenceResponse([Tensor("A", floats(1)), Tensor("B", floats(1))])
    assert response.pruned(("A", "B", "C")) is response
    assert [tensor.name for tensor in response.pruned(("B",)).tensors] == ["B"]
    assert response.pruned(()).tensors == []
