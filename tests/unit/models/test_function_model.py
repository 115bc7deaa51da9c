"""What functions are called with, and what becomes of what they return."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from atoll.errors import InternalError, InvalidArgumentError
from atoll.models.function_model import FunctionBackend
from atoll.models.function_tensors import Batching, TensorSpec, read_batching, read_instances, read_tensors
from atoll.tensor import DataType

ONE = {"y": ("FP32", [2])}
TWO = {"y": ("FP32", [2]), "z": ("INT64", [])}
ROW = np.array([1, 2], np.float32)


def backend(
    function: Callable[..., Any], inputs: Any = None, outputs: Any = None, batched: bool = False
) -> FunctionBackend:
    takes = read_tensors("inputs", {"x": ("FP32", [2])} if inputs is None else inputs)
    return FunctionBackend(function, takes, read_tensors("outputs", outputs or ONE), batched=batched)


def run(function: Callable[..., Any], outputs: Any = None, *, batched: bool = False, x: Any = ROW) -> Any:
    made = backend(function, outputs=outputs, batched=batched)
    return made.execute({"x": x}, list(outputs or ONE))


# ---- tensors and batching, as a caller writes them


@pytest.mark.parametrize(
    ("dtype", "datatype", "text"),
    [
        ("FP32", DataType.FP32, False),
        ("TYPE_INT8", DataType.INT8, False),
        ("BF16", DataType.BF16, False),
        (DataType.BOOL, DataType.BOOL, False),
        (np.float16, DataType.FP16, False),
        ("uint8", DataType.UINT8, False),
        (np.dtype(">i4"), DataType.INT32, False),
        (float, DataType.FP64, False),
        (bytes, DataType.BYTES, False),
        (object, DataType.BYTES, False),
        ("TYPE_STRING", DataType.BYTES, False),
        (str, DataType.BYTES, True),
    ],
)
def test_data_types(dtype: Any, datatype: DataType, text: bool) -> None:
    [tensor] = read_tensors("inputs", {"x": (dtype, [3, -1])})
    assert (tensor.datatype, tensor.text, tensor.shape) == (datatype, text, (3, -1))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([("FP32", [1])], "expected a dict such as"),
        ({"x": "FP32"}, r"inputs\['x'\]: expected its data type and its shape"),
        ({"x": ("FP32",)}, "expected its data type and its shape"),
        ({"x": ("FP32", [1], False, 2)}, "expected its data type and its shape"),
        ({"": ("FP32", [1])}, "the name of a tensor is a text"),
        ({3: ("FP32", [1])}, "the name of a tensor is a text"),
        ({"x": ("fp32", [1])}, r"inputs\['x'\]: 'fp32' is no data type; did you mean 'FP32'\?"),
        ({"x": ("INVALID", [1])}, "is no data type"),
        ({"x": (np.complex64, [1])}, "is no data type; there are BOOL"),
        ({"x": (None, "16")}, "a shape is a list such as"),
        ({"x": ("FP32", 16)}, "a shape is a list such as"),
        ({"x": ("FP32", [0])}, r"0 in \[0\] is no size"),
        ({"x": ("FP32", [-2])}, "is no size"),
        ({"x": ("FP32", [True])}, "is no size"),
        ({"x": ("FP32", ["a"])}, "is no size"),
    ],
)
def test_tensors_that_are_written_wrong(given: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        read_tensors("inputs", given)


@pytest.mark.parametrize(
    ("given", "batching"),
    [
        (False, Batching()),
        (True, Batching(32)),
        (1, Batching(1)),
        (np.int64(8), Batching(8)),
        ({}, Batching(32)),
        ({"max_batch_size": 8, "max_queue_delay_us": 100}, Batching(8, 100)),
    ],
)
def test_batching(given: Any, batching: Batching) -> None:
    assert read_batching(given) == batching


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (0, "batching: expected a whole number from 1, found 0"),
        (-3, "expected a whole number from 1"),
        (2.5, "expected a whole number from 1"),
        ("yes", "expected a whole number from 1"),
        ({"max_batchsize": 8}, r"'max_batchsize' is no setting; did you mean 'max_batch_size'\?"),
        ({"max_batch_size": True}, r"batching\['max_batch_size'\]: expected a whole number"),
        ({"max_queue_delay_us": -1}, r"batching\['max_queue_delay_us'\]: expected a whole number from 0"),
    ],
)
def test_batching_that_is_written_wrong(given: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        read_batching(given)


@pytest.mark.parametrize("given", [0, True, "2", 1.5])
def test_instances_that_are_written_wrong(given: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="instances: expected a whole number from 1"):
        read_instances(given)


# ---- what can be called


class Callables:
    def method(self, x: Any) -> Any:
        return x * 2

    def __call__(self, x: Any) -> Any:
        return x * 2


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2,
        lambda **inputs: inputs["x"] * 2,
        lambda x, more=1: x * 2,
        Callables().method,
        Callables(),
        functools.partial(lambda factor, x: x * factor, 2),
        lambda x, /: x * 2,
    ],
)
def test_what_can_be_called(function: Callable[..., Any]) -> None:
    assert run(function)["y"].tolist() == [2, 4]


def test_a_function_written_in_c_gets_its_inputs_in_their_order() -> None:
    made = backend(np.subtract, {"b": ("FP32", [2]), "a": ("FP32", [2])})
    assert made.execute({"a": ROW, "b": ROW * 3}, ["y"])["y"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("x", "expected a function, found str"),
        (None, "expected a function, found NoneType"),
        (lambda a: a, r"function '.*<lambda>' cannot be called with its inputs, as it is \(a\) and they are 'x'"),
        (lambda: 0, "cannot be called with its inputs"),
        (lambda x, y: 0, "missing a required argument: 'y'"),
        (lambda x, y, /: 0, "takes 2 arguments, and there are 1 inputs"),
    ],
)
def test_what_cannot_be_called(function: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        backend(function)


def test_an_optional_input_needs_a_default() -> None:
    inputs = {"x": ("FP32", [2]), "scale": TensorSpec("FP32", [], optional=True)}
    with pytest.raises(InvalidArgumentError, match="an optional input needs a default"):
        backend(lambda x, scale: x, inputs)
    made = backend(lambda x, scale=3: x * scale, inputs)
    assert made.execute({"x": ROW}, ["y"])["y"].tolist() == [3, 6]


async def coroutine(x: Any) -> Any:
    return x


def generator(x: Any) -> Any:
    yield x


async def async_generator(x: Any) -> Any:
    yield x


class AsyncCallable:
    async def __call__(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize("function", [coroutine, functools.partial(coroutine), AsyncCallable()])
def test_async_functions_are_refused(function: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is async"):
        backend(function)


@pytest.mark.parametrize("function", [generator, async_generator])
def test_generators_are_refused(function: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is a generator: a function answers a request once"):
        backend(function)


# ---- what it gets


def test_inputs_cannot_be_written_to() -> None:
    def spoil(x: Any) -> Any:
        x *= 2
        return x

    own = ROW.copy()
    with pytest.raises(InternalError, match=r"function 'test_inputs.*spoil' raised ValueError: .*read-only"):
        run(spoil, x=own)
    assert own.flags.writeable
    assert own.tolist() == [1, 2]


def test_text_is_text_on_both_sides() -> None:
    made = backend(lambda x: [one.upper() for one in x], {"x": (str, [2])}, {"y": (str, [2])})
    texts = np.array(["é".encode(), b"b"], object)
    assert made.execute({"x": texts}, ["y"])["y"].tolist() == ["É".encode(), b"B"]


def test_text_that_is_none_is_the_clients_fault() -> None:
    made = backend(lambda x: x, {"x": (str, [1])}, {"y": (str, [1])})
    with pytest.raises(InvalidArgumentError, match="input 'x' is text, and not in UTF-8"):
        made.execute({"x": np.array([b"\xff"], object)}, ["y"])


def test_bytes_stay_bytes() -> None:
    made = backend(lambda x: x, {"x": (bytes, [1])}, {"y": (bytes, [1])})
    assert made.execute({"x": np.array([b"\xff"], object)}, ["y"])["y"].tolist() == [b"\xff"]


# ---- what it returns


class Foreign:
    """An array of another library."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return ROW


@pytest.mark.parametrize(
    "result",
    [
        ROW,
        [1, 2],
        (ROW,),
        {"y": ROW},
        {"y": [1, 2]},
        ROW.astype(">f4"),
        Foreign(),
        np.array([1, 0, 2], np.float32)[::2],
    ],
)
def test_one_output(result: Any) -> None:
    found = run(lambda x: result)["y"]
    assert (found.tolist(), found.dtype) == ([1, 2], np.dtype(np.float32))


@pytest.mark.parametrize("result", [(ROW, 7), [ROW, 7], {"z": np.int64(7), "y": ROW}])
def test_two_outputs(result: Any) -> None:
    found = run(lambda x: result, TWO)
    assert found["y"].tolist() == [1, 2]
    assert (found["z"].shape, found["z"].item()) == ((), 7)


def test_an_output_that_nobody_wants_may_be_left_out() -> None:
    assert list(backend(lambda x: {"y": ROW}, outputs=TWO).execute({"x": ROW}, ["y"])) == ["y"]


@pytest.mark.parametrize(
    ("result", "outputs", "text"),
    [
        (None, ONE, "returned None; expected an array, or a dict of 'y' and an array"),
        (None, TWO, "returned None; expected a dict of 'y', 'z' and arrays, or 2 arrays in this order"),
        (ROW, TWO, "returned a ndarray; expected a dict of 'y', 'z' and arrays"),
        ((ROW,), TWO, "returned a tuple of 1; expected"),
        ([ROW] * 3, TWO, "returned a list of 3; expected"),
        ({"Y": ROW}, ONE, "returned 'Y', which is none of the outputs 'y'; did you mean 'y'?"),
        ({}, ONE, "did not return the output 'y', only nothing"),
        ({"y": ROW}, TWO, "did not return the output 'z', only y"),
        (ROW.astype(np.float64), ONE, "returned float64 for the output 'y', which is FP32 .float32.: convert it"),
        (np.float64(1), ONE, "returned float64 for the output 'y'"),
        ("text", ONE, "returned a str for the output 'y' that cannot be made an array of FP32"),
        ([[1, 2], [3]], ONE, "returned a list for the output 'y' that cannot be made an array of FP32"),
        (object(), ONE, "returned a object for the output 'y' that cannot be made an array"),
        ([1, 2, 3], ONE, r"returned \[3\] for the output 'y', whose shape is \[2\]$"),
        ([[1, 2]], ONE, r"returned \[1, 2\] for the output 'y', whose shape is \[2\]"),
    ],
)
def test_wrong_results(result: Any, outputs: Any, text: str) -> None:
    with pytest.raises(InternalError, match=f"function '.*' {text}"):
        run(lambda x: result, outputs)


def test_bf16_is_uint16_or_the_type_that_others_have() -> None:
    pattern = np.array([1, 2], np.uint16)
    assert run(lambda x: pattern, {"y": ("BF16", [2])})["y"].tolist() == [1, 2]
    with pytest.raises(InternalError, match=r"returned float32 .* which is BF16 \(uint16\)"):
        run(lambda x: ROW, {"y": ("BF16", [2])})


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (ROW, r"returned \[2\] for the output 'y' of a batch of 3: the first dimension must be the batch's"),
        (1.0, r"returned \[\] for the output 'y' of a batch of 3"),
        (np.ones((3, 1), np.float32), r"returned \[1\] .* whose shape is \[2\] \(both without the batch dimension\)"),
    ],
)
def test_wrong_results_of_a_batch(result: Any, text: str) -> None:
    with pytest.raises(InternalError, match=text):
        run(lambda x: result, batched=True, x=np.ones((3, 2), np.float32))


def test_what_it_raises_is_told_with_the_place() -> None:
    def fail(x: Any) -> Any:
        raise ValueError("boom")

    with pytest.raises(InternalError, match=r"raised ValueError: boom \(test_function_model.py, line \d+, in fail\)"):
        run(fail)


def test_it_may_blame_the_request() -> None:
    def refuse(x: Any) -> Any:
        raise InvalidArgumentError("not so")

    with pytest.raises(InvalidArgumentError, match=r"^not so$"):
        run(refuse)
