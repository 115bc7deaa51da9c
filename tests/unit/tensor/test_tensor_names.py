"""A tensor under another name, or in another shape: the same data."""

import numpy as np

from atoll.tensor import DataType, Tensor


def test_another_name_is_the_same_data() -> None:
    array = np.arange(6, dtype=np.int32)
    one = Tensor("a", DataType.INT32, (6,), array=array)
    other = one.renamed("b")
    assert (one.name, other.name) == ("a", "b")
    assert other.array() is array
    came = Tensor("a", DataType.INT32, (6,), buffer=array.tobytes())
    assert came.renamed("b").buffer is came.buffer
    decoded = came.array()
    assert came.renamed("b").array() is decoded


def test_another_shape_is_the_same_data() -> None:
    array = np.arange(6, dtype=np.int32)
    for one in (
        Tensor("a", DataType.INT32, (6,), array=array),
        Tensor("a", DataType.INT32, (6,), buffer=memoryview(array).cast("B")),
    ):
        other = one.reshaped("b", (2, 3))
        assert (other.name, other.shape, other.array().shape) == ("b", (2, 3), (2, 3))
        assert np.shares_memory(other.array(), array)
        assert one.shape == one.array().shape == (6,)
