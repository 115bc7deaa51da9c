"""Which requests are equal."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.caching.answers import said, tensors

from atoll.caching.key import KeyMaker
from atoll.calls import ThreadReply
from atoll.request import InferenceRequest
from atoll.tensor import Tensor

SAME = b"the model as it is"


def request(*inputs: Tensor, outputs: Sequence[str] = (), **options: Any) -> InferenceRequest:
    return InferenceRequest(
        "m", {one.name: one for one in inputs}, ThreadReply(), output_names=tuple(outputs), **options
    )


def key(one: InferenceRequest, *, sees: bool = True, name: str = "m", identity: bytes = SAME) -> str:
    return KeyMaker(name, "1", ["OUT0", "OUT1"], sees_parameters=sees).key(one, identity)


def tensor(values: Any = (1, 2), dtype: str = "int32", name: str = "IN") -> Tensor:
    return Tensor.from_numpy(name, np.array(values, dtype))


several = st.lists(tensors(), max_size=3, unique_by=lambda one: one.name)


@given(several, several)
def test_keys_are_equal_where_all_inputs_are(one: list[Tensor], other: list[Tensor]) -> None:
    equal = sorted(map(said, one), key=repr) == sorted(map(said, other), key=repr)
    assert (key(request(*one)) == key(request(*other))) is equal
    assert key(request(*one)) == key(request(*reversed(one)))


@given(tensors())
def test_an_array_and_its_wire_form_are_equal(one: Tensor) -> None:
    packed = Tensor(one.name, one.datatype, one.shape, buffer=memoryview(bytes(one.packed())))
    assert key(request(one)) == key(request(packed))


def test_large_inputs_count_in_whole_and_in_their_place() -> None:
    zeros, ones = np.zeros(5000, np.uint8), np.ones(5000, np.uint8)
    last = zeros.copy()
    last[-1] = 1

    def pair(a: Any, b: Any) -> str:
        return key(request(Tensor.from_numpy("A", a), Tensor.from_numpy("B", b)))

    assert len({pair(zeros, ones), pair(ones, zeros), pair(zeros, zeros), pair(last, zeros)}) == 4


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(request(tensor([[1, 2]])), id="shape"),
        pytest.param(request(tensor(dtype="uint32")), id="type"),
        pytest.param(request(tensor([1, 3])), id="value"),
        pytest.param(request(tensor(name="IN2")), id="name"),
        pytest.param(request(tensor(), tensor(name="X")), id="one more"),
        pytest.param(request(tensor(), outputs=["OUT0"]), id="outputs"),
        pytest.param(request(tensor(), parameters={"a": 1}), id="parameters"),
    ],
)
def test_what_makes_another_request(other: InferenceRequest) -> None:
    assert key(request(tensor())) != key(other)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(request(tensor(), id="x"), id="id"),
        pytest.param(request(tensor(), priority=3), id="priority"),
        pytest.param(request(tensor(), timeout_us=3), id="timeout"),
        pytest.param(request(tensor(), outputs=["OUT1", "OUT0"]), id="all outputs by name"),
        pytest.param(request(tensor(), parameters={}), id="no parameters"),
    ],
)
def test_what_makes_no_other_request(other: InferenceRequest) -> None:
    assert key(request(tensor())) == key(other)


def test_the_order_of_outputs_does_not_count() -> None:
    maker = KeyMaker("m", "1", ["A", "B", "C"], sees_parameters=False)
    ordered = [maker.key(request(tensor(), outputs=one), SAME) for one in (["A", "B"], ["B", "A"], ["A"], ["B"])]
    assert ordered[0] == ordered[1]
    assert len(set(ordered)) == 3


def test_the_type_of_a_parameter_counts() -> None:
    keys = [key(request(tensor(), parameters={"a": value})) for value in (1, True, "1", 1.0, "True")]
    assert len(set(keys)) == len(keys)


def test_parameters_do_not_count_for_a_model_that_does_not_see_them() -> None:
    assert key(request(tensor(), parameters={"a": 1}), sees=False) == key(request(tensor()), sees=False)


def test_the_model_counts() -> None:
    one = request(tensor())
    keys = [key(one), key(one, name="n"), key(one, identity=b"another"), key(one, identity=b"")]
    assert len(set(keys)) == len(keys)
    assert keys[0].startswith("atoll:1:m:1:")


def test_lists_of_outputs_that_clients_invent_do_not_pile_up() -> None:
    maker = KeyMaker("m", "1", [f"O{number}" for number in range(12)], sees_parameters=False)
    for number in range(1 << 11):
        maker.key(request(outputs=[f"O{bit}" for bit in range(12) if number >> bit & 1]), SAME)
    assert len(maker._selections) <= 256
