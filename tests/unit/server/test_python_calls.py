"""What a Python caller may put in."""

import numpy as np
import pytest

from atoll.calls import input_tensor
from atoll.errors import InvalidArgumentError
from atoll.tensor import DataType


@pytest.mark.parametrize(
    ("value", "datatype", "text"),
    [
        (["a"], DataType.FP32, "input 'X' cannot be made an array of FP32: could not convert string to float: 'a'"),
        ([300], DataType.UINT8, "input 'X' cannot be made an array of UINT8: "),
        ([None], DataType.INT64, "input 'X' cannot be made an array of INT64: "),
        ([[1], [1, 2]], None, "input 'X' cannot be made an array: "),
    ],
)
def test_a_sequence_that_is_no_such_array_is_refused_by_the_inputs_name(
    value: object, datatype: DataType | None, text: str
) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        input_tensor("X", value, datatype)  # type: ignore[arg-type]
    assert str(raised.value).startswith(text)


def test_a_sequence_takes_the_models_type() -> None:
    tensor = input_tensor("X", [1, 2], DataType.FP16)
    assert tensor.datatype is DataType.FP16
    assert np.array_equal(tensor.array(), np.array([1, 2], np.float16))
