"""That every data type goes through a model unharmed, with the values at its ends."""

import numpy as np
import pytest

from atoll.tensor import BY_PROTOCOL_NAME, Array, DataType
from atoll.testing.backend_contract.making import Making
from atoll.testing.backend_contract.workshop import Workshop

FLOATS = ("FP16", "FP32", "FP64", "BF16")
WORDS = [b"", b"a", b"word", "größer, 大きい, 🌊".encode(), b"a\x00b", b"\x00\x00c", b"", b"x" * 70_000]


def extremes(datatype: str) -> Array:
    """Eight values of the type, the smallest and the largest among them; of BYTES empty and long ones, with NULs."""
    kind = BY_PROTOCOL_NAME[datatype]
    if kind is DataType.BYTES:
        flat = np.empty(len(WORDS), np.object_)
        flat[:] = WORDS
        return flat
    if kind is DataType.BOOL:
        return np.array([True, False, False, True, True, True, False, False])
    if kind is DataType.BF16:  # bit patterns: 0, -0, 1, -1, the largest, the smallest, pi, the least normal one
        return np.array([0, 0x8000, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x4049, 0x0080], np.uint16)
    if kind.dtype.kind == "f":
        limits = np.finfo(kind.dtype)
        return np.array([0, -0.0, 1, -1.5, limits.max, limits.min, limits.eps, limits.smallest_normal], kind.dtype)
    whole = np.iinfo(kind.dtype)
    return np.array([0, 1, 2, 3, whole.max, whole.min, whole.max - 1, whole.min + 1], kind.dtype)


def not_numbers(datatype: str) -> Array:
    """NaN, the infinities, and a number."""
    if datatype == "BF16":
        return np.array([0x7FC0, 0x7F80, 0xFF80, 0x3F80], np.uint16)
    return np.array([np.nan, np.inf, -np.inf, 1], BY_PROTOCOL_NAME[datatype].dtype)


class DatatypeContract(Making):
    """The data types, through the backend itself."""

    @pytest.mark.parametrize("datatype", BY_PROTOCOL_NAME)
    def test_extreme_values(self, workshop: Workshop, datatype: str) -> None:
        made = self.identity_model(workshop, datatype)
        values = extremes(datatype)
        sent = values.reshape(2, 4) if made.batching else values[4:]
        with workshop.instance(made) as instance:
            found = instance.execute({made.inputs[0][0]: sent}, [made.outputs[0][0]])[made.outputs[0][0]]
        assert isinstance(found, np.ndarray)
        assert found.dtype == sent.dtype
        assert found.shape == sent.shape
        if datatype == "BYTES":
            assert found.tolist() == sent.tolist()
            assert all(type(one) is bytes for one in found.ravel())
        else:
            assert found.tobytes() == sent.tobytes(), f"{found} is not {sent}"

    @pytest.mark.parametrize("datatype", FLOATS)
    def test_not_a_number_and_infinities(self, workshop: Workshop, datatype: str) -> None:
        self.needs("NaN")
        made = self.identity_model(workshop, datatype)
        values = not_numbers(datatype)
        with workshop.instance(made) as instance:
            sent = values.reshape(1, 4) if made.batching else values
            found = instance.execute({made.inputs[0][0]: sent}, [made.outputs[0][0]])[made.outputs[0][0]]
        if datatype == "BF16":
            assert found.ravel()[1:].tolist() == values[1:].tolist()
            assert found.ravel()[0] & 0x7F80 == 0x7F80
            assert found.ravel()[0] & 0x7F, "a NaN has become an infinity"
        else:
            np.testing.assert_array_equal(found.ravel(), values)
