"""Elements of tensors as traces show them."""

import numpy as np
import pytest

from atoll.observability.tracing.tensors import tensor_entry
from atoll.tensor import DataType, Tensor


@pytest.mark.parametrize(
    ("datatype", "array", "text"),
    [
        (DataType.INT32, np.array([[1, -2]], np.int32), "1,-2"),
        (DataType.UINT64, np.array([2**63, 1], np.uint64), "9223372036854775808,1"),
        (DataType.INT8, np.array([-3, 4], np.int8), "-3,4"),
        (
            DataType.FP32,
            np.array([1.5, 3.14159265, 1e30, 1e-7, 100000, 1234567, np.nan, np.inf, 0.1, 2], np.float32),
            "1.5,3.14159,1e+30,1e-07,100000,1.23457e+06,nan,inf,0.1,2",
        ),
        (DataType.FP64, np.array([3.14159265358979, 1e300]), "3.14159,1e+300"),
        (DataType.FP16, np.array([1.5], np.float16), "1.5"),
        (DataType.BF16, np.array([0x3FC0, 0xC000], np.uint16), "1.5,-2"),
        (DataType.BOOL, np.array([True, False]), "1,0"),
        (DataType.BYTES, np.array([b"plain", b"com,ma", b"", b"\xff"], object), '"plain","com,ma","","\\xff"'),
        (DataType.INT32, np.zeros((2, 0), np.int32), ""),
    ],
)
def test_elements_are_one_text(datatype: DataType, array: np.ndarray, text: str) -> None:
    entry = tensor_entry(Tensor("T", datatype, array.shape, array=array))
    shape = ",".join(map(str, array.shape))
    assert entry == {"name": "T", "data": text, "shape": shape, "dtype": datatype.protocol_name}


def test_packed_elements_are_read() -> None:
    packed = Tensor("T", DataType.INT32, (2,), buffer=np.array([7, 8], np.int32).tobytes())
    assert tensor_entry(packed)["data"] == "7,8"
