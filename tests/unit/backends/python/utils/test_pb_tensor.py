"""Tensor: which arrays it takes, what of them it gives back, and what the server gets."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from atoll.backends.python.utils import Tensor, TritonModelException, triton_to_numpy_type
from atoll.tensor import DataType
from atoll.tensor import Tensor as Inner

NUMERIC = [one for one in DataType if one.size and one is not DataType.BF16]


@pytest.mark.parametrize("datatype", NUMERIC)
def test_an_array_is_shared_and_keeps_its_type(datatype: DataType) -> None:
    array = np.ones((2, 3), datatype.dtype)
    tensor = Tensor("X", array)
    assert tensor.as_numpy() is array
    assert (tensor.name(), tensor.shape(), tensor.is_cpu()) == ("X", [2, 3], True)
    assert tensor.triton_dtype() == datatype.number
    assert triton_to_numpy_type(tensor.triton_dtype()) == datatype.dtype.type
    assert tensor.inner.array() is array
    assert tensor.inner.datatype is datatype


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 1, 1)])
def test_shapes_are_as_given(shape: tuple[int, ...]) -> None:
    tensor = Tensor("X", np.zeros(shape, np.int8))
    assert tensor.shape() == list(shape)
    assert tensor.inner.shape == shape


@pytest.mark.parametrize(
    "view",
    [lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1], np.asfortranarray, lambda a: np.broadcast_to(a, (2, 2, 3))],
)
def test_what_is_not_contiguous_is_copied_into_c_order(view: Any) -> None:
    array = view(np.arange(6, dtype=np.float32).reshape(2, 3))
    tensor = Tensor("X", array)
    assert tensor.as_numpy().flags.c_contiguous
    assert np.array_equal(tensor.as_numpy(), array)
    assert tensor.shape() == list(array.shape)


@pytest.mark.parametrize(
    ("array", "elements"),
    [
        (np.array([b"a", b"bc"]), [b"a", b"bc"]),
        (np.array(["ä", b"\xff\0", 1, None, 1.5], dtype=object), ["ä".encode(), b"\xff\0", b"1", b"None", b"1.5"]),
        (np.array([], dtype=object), []),
    ],
)
def test_bytes_are_given_back_as_they_were_and_sent_as_bytes(array: Any, elements: list[bytes]) -> None:
    tensor = Tensor("X", array)
    assert tensor.as_numpy() is array
    assert tensor.triton_dtype() == DataType.BYTES.number
    assert tensor.inner.array().tolist() == elements
    assert tensor.inner.array().dtype == np.object_


def test_an_array_of_bytes_objects_is_not_converted() -> None:
    array = np.array([[b"a\0", b"b"]], dtype=object)
    assert Tensor("X", array).inner.array() is array


@pytest.mark.parametrize(
    "array",
    [
        np.ones(1, np.complex64),
        np.array(["text"]),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.ones(1, ">f4"),
        np.ones(1, np.longdouble),
        np.zeros(1, [("a", "i4")]),
        np.zeros(1, "V2"),
    ],
)
def test_other_dtypes_are_refused(array: Any) -> None:
    with pytest.raises(TritonModelException, match=r"^NumPy dtype is not supported\.$"):
        Tensor("X", array)


@pytest.mark.parametrize(
    "arguments", [(1, np.ones(1)), ("X", [1, 2]), ("X", 3), (None, np.ones(1)), ("X", np.float32(1))]
)
def test_other_arguments_are_type_errors(arguments: tuple[Any, Any]) -> None:
    with pytest.raises(TypeError, match="incompatible constructor arguments") as raised:
        Tensor(*arguments)
    assert "    1. c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)\n\nInvoked with: " in str(raised.value)


def test_a_tensor_has_a_name() -> None:
    with pytest.raises(TritonModelException, match=r"^Tensor name cannot be an empty string\.$"):
        Tensor("", np.ones(1))
    assert Tensor(b"bytes", np.ones(1)).name() == "bytes"  # type: ignore[arg-type]
    assert type(Tensor(np.str_("X"), np.ones(1)).name()) is str


def test_a_received_tensor_is_decoded_once_and_may_be_written_to() -> None:
    packed = np.arange(4, dtype=np.int16).tobytes()
    tensor = Tensor.received(Inner("X", DataType.INT16, (2, 2), buffer=packed))
    array = tensor.as_numpy()
    assert array.tolist() == [[0, 1], [2, 3]]
    array += 1
    assert tensor.as_numpy() is array
    assert packed == np.arange(4, dtype=np.int16).tobytes()


def test_a_received_tensor_in_writable_memory_is_not_copied() -> None:
    memory = bytearray(8)
    Tensor.received(Inner("X", DataType.INT16, (4,), buffer=memory)).as_numpy()[:] = 1
    assert memory == np.ones(4, np.int16).tobytes()


def test_what_was_written_to_a_received_tensor_is_what_it_sends() -> None:
    tensor = Tensor.received(Inner("X", DataType.INT16, (1,), buffer=b"\1\0"))
    tensor.as_numpy()[0] = 9
    assert bytes(tensor.inner.packed()) == b"\x09\0"


def test_received_bytes_are_bytes_objects() -> None:
    tensor = Tensor.received(Inner("X", DataType.BYTES, (1, 2), buffer=b"\1\0\0\0a\0\0\0\0"))
    assert tensor.as_numpy().tolist() == [[b"a", b""]]
    assert tensor.as_numpy().flags.writeable


def test_a_tensor_lets_go_of_its_array() -> None:
    array = np.ones(3)
    gone = weakref.ref(array)
    tensor = Tensor("X", array)
    capsule = tensor.to_dlpack()
    del array, tensor, capsule
    gc.collect()
    assert gone() is None
