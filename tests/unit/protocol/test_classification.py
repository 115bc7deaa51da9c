"""Classes in place of data: the order, the text of each value, and how HTTP requests ask for them."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from atoll.errors import InternalError, InvalidArgumentError
from atoll.protocol.classification import MAX_STRINGS, classify
from atoll.protocol.http_codec import decode_infer
from atoll.protocol.http_memory import InferDecoder
from atoll.tensor import BY_PROTOCOL_NAME, DataType, Tensor

TYPES = [one for name, one in BY_PROTOCOL_NAME.items() if "INT" in name or name in ("FP32", "FP64")]


def tensor(values, dtype=np.float32):
    return Tensor.from_numpy("OUT", np.array(values, dtype))


def strings(values, count, labels=(), *, batched=False, dtype=np.float32):
    return classify(tensor(values, dtype), count, labels, batched).array().ravel().tolist()


def plain(row, count, labels):
    """The same by a plain sort, one value after the other."""
    order = sorted(range(len(row)), key=lambda index: (math.isnan(row[index]), -row[index], index))
    found = []
    for index in order[:count]:
        value = row[index]
        text = "%f" % value if isinstance(value, float) else "%d" % value  # noqa: UP031 - as C does
        if math.isnan(value) and math.copysign(1, value) < 0:
            text = "-nan"
        label = labels[index] if index < len(labels) else ""
        found.append(":".join([text, str(index), *([label] if label else [])]).encode("utf-8", "surrogateescape"))
    return found


@given(
    st.data(), st.sampled_from(TYPES), st.integers(1, 40), st.lists(st.sampled_from(["", "a", "b:c", "\udcff", "é"]))
)
def test_the_order_is_that_of_a_plain_sort(data, datatype, count, labels):
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 60)))
    elements = data.draw(st.sampled_from([arrays.from_dtype(datatype.dtype), None]))
    if elements is None:  # few different values: many of them are equal
        elements = st.sampled_from([np.array(v).astype(datatype.dtype)[()] for v in (0, 1, 2, 3)])
    values = data.draw(arrays.arrays(datatype.dtype, shape, elements=elements))
    classes = classify(Tensor("OUT", datatype, shape, array=values), count, labels, True)
    kept = min(count, shape[1])
    assert (classes.name, classes.datatype, classes.shape) == ("OUT", DataType.BYTES, (shape[0], kept))
    assert classes.array().tolist() == [plain(row, kept, labels) for row in values.tolist()]


@pytest.mark.parametrize("count", [1, 3, 100])
def test_a_few_of_many_values_are_those_of_a_plain_sort(count):
    rows = np.random.default_rng(0).integers(0, 300, (2, 5000)).astype(np.float32)
    rows[0, ::7] = np.nan
    rows[1, :] = np.nan
    rows[1, 17] = -np.inf
    expected = [plain(row, count, ()) for row in rows.tolist()]
    assert classify(tensor(rows), count, (), True).array().tolist() == expected


def test_values_are_written_as_the_real_server_writes_them():
    assert strings([1.5, -0.0, 1e30, 1e-9, -1.23456789, np.inf, np.nan, -np.nan], 9) == [
        *(b"inf:5", b"1000000015047466219876688855040.000000:2", b"1.500000:0", b"0.000000:3", b"-0.000000:1"),
        *(b"-1.234568:4", b"nan:6", b"-nan:7"),
    ]
    assert strings([0, 2**64 - 1, 2**63], 2, dtype=np.uint64) == [b"18446744073709551615:1", b"9223372036854775808:2"]
    assert strings([-5, -1, -128], 3, dtype=np.int8) == [b"-1:1", b"-5:0", b"-128:2"]


def test_a_signalling_nan_is_a_nan():
    values = np.array([0x7FA00000, 0x3F800000], np.uint32).view(np.float32)
    assert strings(values, 2) == [b"1.000000:1", b"nan:0"]


def test_classes_without_a_label_have_none():
    assert strings([1, 2, 3], 3, ("cat", "")) == [b"3.000000:2", b"2.000000:1", b"1.000000:0:cat"]


@pytest.mark.parametrize(
    ("shape", "batched", "expected"),
    [
        ((3,), False, (2,)),
        ((2, 3), False, (2,)),
        ((2, 3), True, (2, 2)),
        ((2, 2, 3), True, (2, 2)),
        ((4,), True, (4, 1)),
        ((), False, (1,)),
        ((), True, (1,)),
        ((2, 0), True, (2, 0)),
        ((0, 3), True, (0, 2)),
        ((0,), False, (0,)),
    ],
)
def test_items_are_those_of_the_batch(shape, batched, expected):
    values = tensor(np.arange(np.prod(shape, dtype=int)).reshape(shape))
    classes = classify(values, 2, (), batched)
    assert classes.shape == classes.array().shape == expected


@pytest.mark.parametrize("name", ["BOOL", "FP16", "BF16", "BYTES"])
def test_types_without_classes(name):
    datatype = BY_PROTOCOL_NAME[name]
    with pytest.raises(InvalidArgumentError) as refused:
        classify(Tensor("OUT", datatype, (1,), array=np.zeros(1, datatype.dtype)), 1, (), False)
    assert str(refused.value) == f"class result not available for output due to unsupported type '{name}'"


def test_the_number_of_strings_is_bounded():
    many = Tensor("OUT", DataType.INT8, (4, MAX_STRINGS), array=np.zeros((4, MAX_STRINGS), np.int8))
    with pytest.raises(InvalidArgumentError, match=f"would have {4 * MAX_STRINGS} classes, more than {MAX_STRINGS}"):
        classify(many, 2**60, (), True)
    assert classify(many, 1, (), True).array().tolist() == [[b"0:0"]] * 4


# ---- how HTTP asks


def http_form(*outputs):
    text = json.dumps(
        {
            "inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [1]}],
            "outputs": [{"name": name, "parameters": parameters} for name, parameters in outputs],
        }
    ).encode()
    return decode_infer(memoryview(text), len(text), "m").form


def test_an_http_request_says_how_many_classes():
    form = http_form(("A", {"classification": 2, "binary_data": True}), ("B", {"classification": 0}), ("C", {}))
    assert (form.classes, form.binary) == ({"A": 2}, {"A": True, "B": False, "C": False})
    assert http_form(("A", {})).classes is None


def test_of_an_output_named_twice_the_first_one_counts():
    assert http_form(("A", {"classification": 2}), ("A", {"classification": 1}), ("A", {})).classes == {"A": 2}
    assert http_form(("A", {}), ("A", {"classification": 1})).classes is None
    with pytest.raises(InternalError):
        http_form(("A", {}), ("A", {"classification": "1"}))


@pytest.mark.parametrize("count", [-1, 1.0, 1.5, "2", True, None, [1], {}, 2**64])
def test_what_is_no_count_of_classes(count):
    with pytest.raises(InternalError) as refused:
        http_form(("A", {"classification": count}))
    assert str(refused.value) == (
        "Unable to set 'classification': attempt to access JSON non-unsigned-integer as unsigned-integer"
    )


def test_a_remembered_request_asks_for_the_same_classes():
    document = {
        "inputs": [{"name": "IN", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": 1}}],
        "outputs": [{"name": "A", "parameters": {"classification": 3}}],
    }
    text = json.dumps(document).encode()
    decoder = InferDecoder()
    for _ in range(3):
        assert decoder.decode(memoryview(text + b"\1"), len(text), "m").form.classes == {"A": 3}
