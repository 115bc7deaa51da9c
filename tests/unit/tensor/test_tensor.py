"""Data types, tensors, and the packing of BYTES."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from atoll.errors import InvalidArgumentError
from atoll.tensor import BY_CONFIG_NAME, DataType, Tensor, data_type_of, pack, unpack, unpack_bytes

FIXED = [one for one in DataType if one.size]


def test_the_table_is_the_protocols() -> None:
    assert BY_CONFIG_NAME["TYPE_STRING"] is DataType.BYTES
    assert [one.number for one in DataType] == list(range(15))
    assert all(one.dtype.itemsize == one.size for one in FIXED)


@pytest.mark.parametrize("datatype", FIXED)
@given(shape=npst.array_shapes(min_dims=0, min_side=0, max_dims=3), data=st.data())
def test_packed_and_unpacked_again(datatype: DataType, shape: tuple[int, ...], data: st.DataObject) -> None:
    array = data.draw(npst.arrays(datatype.dtype, shape))
    packed = bytes(pack(array, datatype))
    assert len(packed) == array.nbytes
    assert unpack(packed, datatype, shape, "x").tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_strings_packed_and_unpacked_again(elements: list[bytes]) -> None:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    assert unpack_bytes(pack(array, DataType.BYTES), len(elements), "x") == elements


@given(packed=st.binary(max_size=40), count=st.integers(0, 10))
def test_any_bytes_are_strings_or_refused(packed: bytes, count: int) -> None:
    try:
        elements = unpack_bytes(packed, count, "x")
    except InvalidArgumentError:
        return
    assert len(elements) == count
    assert sum(len(element) + 4 for element in elements) == len(packed)


def test_a_claimed_size_is_not_allocated() -> None:
    with pytest.raises(InvalidArgumentError, match="expected 1125899906842624 string elements"):
        unpack(b"", DataType.BYTES, (2**50,), "x")


def test_what_numpy_calls_strings_is_bytes() -> None:
    tensor = Tensor.from_numpy("x", np.array([["a", "bé"]]))
    assert tensor.datatype is DataType.BYTES
    assert tensor.array().tolist() == [[b"a", "bé".encode()]]


def test_large_arrays_are_packed_without_a_copy() -> None:
    array = np.zeros((100, 100), np.float32)
    assert np.shares_memory(np.frombuffer(pack(array, DataType.FP32), np.uint8), array)


def test_foreign_byte_order_and_strides_are_put_right() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3)[:, ::2]
    tensor = Tensor.from_numpy("x", array)
    assert unpack(bytes(tensor.packed()), DataType.INT32, (2, 2), "x").tolist() == [[0, 2], [3, 5]]


def test_bfloat16_arrays_hold_their_bit_patterns() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    tensor = Tensor.from_numpy("x", np.array([1.0, -2.0], dtype=ml_dtypes.bfloat16))
    assert (tensor.datatype, tensor.array().tolist()) == (DataType.BF16, [0x3F80, 0xC000])


def test_a_type_that_the_protocol_lacks_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="complex128"):
        data_type_of(np.zeros(1, complex))
