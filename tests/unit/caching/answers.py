"""Answers of any kind, for property tests."""

import numpy as np
from hypothesis import strategies as st

from atoll.tensor import BY_PROTOCOL_NAME, DataType, Tensor

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
parameters = st.dictionaries(
    names,
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    ),
    max_size=3,
)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """One of any type, as an array."""
    datatype = draw(st.sampled_from(sorted(BY_PROTOCOL_NAME.values(), key=lambda one: one.number)))
    shape = draw(shapes)
    count = int(np.prod(shape, dtype=np.int64))
    if datatype is DataType.BYTES:
        array = np.empty(count, np.object_)
        array[:] = draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count))
    else:
        data = draw(st.binary(min_size=count * datatype.size, max_size=count * datatype.size))
        array = np.frombuffer(data, datatype.dtype)
    return Tensor(draw(names), datatype, shape, array=array.reshape(shape))


def said(tensor: Tensor) -> tuple[object, ...]:
    """All that a tensor says, to be compared."""
    return tensor.name, tensor.datatype, tensor.shape, bytes(tensor.packed())
