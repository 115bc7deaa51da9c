"""Padded batches: what was sent lies where it was, the rest is the value, and everybody gets his own size back."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput, ModelParameter, ModelTensorReshape
from atoll.errors import InternalError, InvalidArgumentError
from atoll.execution.batching import padding
from atoll.execution.batching.batch import join, plan_batches, split
from atoll.execution.batching.plan import BatchPlan
from atoll.execution.instance import ModelInstance
from atoll.execution.memory_pool import HostMemoryPool
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import QUEUED, InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor
from atoll.testing.fake_backend import FakeInstance

MADE = {"mask": {"name": "M", "data_type": "TYPE_BOOL"}, "length": {"name": "L", "data_type": "TYPE_INT32"}}


class Nowhere:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        raise AssertionError("joining sends nothing")


def plan(
    document: dict[str, Any],
    *,
    dims: tuple[int, ...] = (-1,),
    datatype: DataType = DataType.FP32,
    max_batch_size: int = 64,
    reshape: tuple[int, ...] | None = None,
    output_dims: tuple[int, ...] | None = None,
    output_reshape: tuple[int, ...] | None = None,
) -> BatchPlan:
    def shaped(shape: tuple[int, ...] | None) -> ModelTensorReshape | None:
        return None if shape is None else ModelTensorReshape(shape=shape)

    return plan_batches(
        ModelConfig(
            name="m",
            max_batch_size=max_batch_size,
            input=(
                ModelInput(name="X", data_type=datatype, dims=dims, reshape=shaped(reshape), optional=True),
                ModelInput(name="ID", data_type=DataType.INT32, dims=(1,)),
            ),
            output=(
                ModelOutput(name="Y", data_type=datatype, dims=output_dims or dims, reshape=shaped(output_reshape)),
                ModelOutput(name="ID", data_type=DataType.INT32, dims=(1,)),
            ),
            parameters={"padding": ModelParameter(string_value=json.dumps(document))},
        )
    )


def request(array: Any, packed: bool = False, number: int = 0, outputs: tuple[str, ...] = ()) -> InferenceRequest:
    tensor = Tensor.from_numpy("X", array)
    if packed:
        tensor = Tensor("X", tensor.datatype, tensor.shape, buffer=bytes(tensor.packed()))
    numbers = np.full((array.shape[0], 1), number, np.int32)
    inputs = {"X": tensor, "ID": Tensor.from_numpy("ID", numbers)}
    made = InferenceRequest("m", inputs, Nowhere(), output_names=outputs)
    made.batch_size = array.shape[0]
    return made


def vector(*values: float) -> Any:
    return np.array([values], np.float32)


def test_the_shorter_are_filled_up_to_the_longest() -> None:
    requests = [request(vector(1, 2)), request(vector(3, 4, 5)), request(vector())]
    inputs = join(requests, plan({"inputs": {"X": {"value": -1.5, **MADE}}}))
    assert inputs["X"].tolist() == [[1, 2, -1.5], [3, 4, 5], [-1.5] * 3]
    assert inputs["M"].tolist() == [[True, True, False], [True] * 3, [False] * 3]
    assert inputs["M"].dtype == np.bool_
    assert inputs["L"].tolist() == [2, 3, 0]
    assert inputs["L"].dtype == np.int32


def test_the_mask_and_the_lengths_are_there_when_nothing_needs_padding() -> None:
    inputs = join([request(vector(1, 2))], plan({"inputs": {"X": MADE}}))
    assert (inputs["X"].tolist(), inputs["M"].tolist(), inputs["L"].tolist()) == ([[1, 2]], [[True, True]], [2])
    empty = join([request(vector())], plan({"inputs": {"X": MADE}}))
    assert (empty["X"].shape, empty["M"].shape, empty["L"].tolist()) == ((1, 0), (1, 0), [0])


def test_buckets_of_one_dimension_and_of_several() -> None:
    one = plan({"inputs": {"X": {"buckets": [2, 4, 8]}}})
    assert [join([request(vector(*range(n)))], one)["X"].shape[1] for n in (0, 1, 2, 3, 4, 5)] == [2, 2, 2, 4, 4, 8]
    both = plan({"inputs": {"X": {"buckets": [[2, 4], [3, 9]], **MADE}}}, dims=(-1, 2, -1))
    requests = [request(np.ones((2, 1, 2, 3), np.float32)), request(np.ones((1, 3, 2, 2), np.float32))]
    inputs = join(requests, both)
    assert inputs["X"].shape == (3, 4, 2, 3)
    assert inputs["M"].shape == (3, 4, 3)
    assert inputs["L"].tolist() == [[1, 3], [1, 3], [3, 2]]
    assert inputs["M"].sum(axis=(1, 2)).tolist() == [3, 3, 6]
    assert inputs["X"].sum() == 2 * 1 * 2 * 3 + 3 * 2 * 2


def test_without_a_batch_dimension_a_request_is_padded_to_its_bucket() -> None:
    one = InferenceRequest("m", {"X": Tensor.from_numpy("X", np.ones(3, np.float32))}, Nowhere())
    unbatched = plan({"inputs": {"X": {"buckets": [4], **MADE}}, "outputs": {"Y": "X"}}, max_batch_size=0)
    inputs = join([one], unbatched)
    assert inputs["X"].tolist() == [1, 1, 1, 0]
    assert inputs["M"].tolist() == [True, True, True, False]
    assert isinstance(inputs["L"], np.ndarray)
    assert (inputs["L"].shape, inputs["L"].item()) == ((), 3)
    assert split({"Y": inputs["X"]}, [one], unbatched, 1)[0][0].shape == (3,)


def test_an_input_that_all_leave_out_is_not_padded() -> None:
    requests = [request(vector(1)) for _ in range(2)]
    for one in requests:
        del one.inputs["X"]
    padded = plan({"inputs": {"X": MADE}, "outputs": {"Y": "X"}})
    assert list(join(requests, padded)) == ["ID"]
    shares = split({"Y": np.zeros((2, 5), np.float32)}, requests, padded, 2)
    assert [share[0].shape for share in shares] == [(1, 5), (1, 5)]


def test_padding_comes_before_the_reshape_and_is_cut_after_it() -> None:
    padded = plan(
        {"inputs": {"X": {}}, "outputs": {"Y": "X"}},
        dims=(-1, 4),
        reshape=(2, 2, -1),
        output_dims=(-1, 4),
        output_reshape=(4, -1),
    )
    requests = [request(np.ones((1, rows, 4), np.float32)) for rows in (1, 3)]
    inputs = join(requests, padded)
    assert inputs["X"].shape == (2, 2, 2, 3)
    shares = split({"Y": np.zeros((2, 4, 3), np.float32)}, requests, padded, 2)
    assert [share[0].shape for share in shares] == [(1, 1, 4), (1, 3, 4)]


def test_each_dimension_of_an_output_can_have_a_source_of_its_own() -> None:
    padded = plan({"inputs": {"X": {}}, "outputs": {"Y": ["X", None, "X"]}}, output_dims=(-1, -1, -1))
    requests = [request(vector(1)), request(vector(1, 2))]
    shares = split({"Y": np.zeros((2, 2, 7, 2), np.float32)}, requests, padded, 2)
    assert [share[0].shape for share in shares] == [(1, 1, 7, 1), (1, 2, 7, 2)]


def test_an_output_of_another_length_than_was_padded_to_answers_nobody() -> None:
    padded = plan({"inputs": {"X": {}}, "outputs": {"Y": "X"}})
    requests = [request(vector(1)), request(vector(1, 2))]
    with pytest.raises(InternalError, match=r"shape \[2, 5\], but its dimension 1 .* input 'X' was padded, to 2"):
        split({"Y": np.zeros((2, 5), np.float32)}, requests, padded, 2)


@pytest.mark.parametrize("length", [0, 2])
def test_an_empty_slot_is_all_padding_and_makes_nothing_longer(length: int) -> None:
    padded = plan({"inputs": {"X": {"value": 9, **MADE}}, "outputs": {"Y": "X"}})
    empty = request(vector(1, 2, 3))
    empty.filler = True
    requests = [empty, request(vector(*[5] * length))]
    inputs = join(requests, padded)
    assert inputs["X"].tolist() == [[9] * length, [5] * length]
    assert inputs["M"].tolist() == [[False] * length, [True] * length]
    assert inputs["L"].tolist() == [0, length]
    shares = split({"Y": inputs["X"]}, requests, padded, 2)
    assert [share[0].shape for share in shares] == [(1, 0), (1, length)]


def test_only_wanted_outputs_are_given_and_the_others_cut_as_ever() -> None:
    padded = plan({"inputs": {"X": {}}, "outputs": {"Y": "X"}})
    requests = [request(vector(1), outputs=("ID",)), request(vector(1, 2), number=7)]
    outputs = {"Y": np.zeros((2, 2), np.float32), "ID": np.array([[0], [7]], np.int32)}
    first, second = split(outputs, requests, padded, 2)
    assert [tensor.name for tensor in first] == ["ID"]
    assert {tensor.name: tensor.array().tolist() for tensor in second} == {"Y": [[0, 0]], "ID": [[7]]}


@pytest.mark.parametrize(
    ("datatype", "value", "expected"),
    [
        (DataType.BOOL, True, True),
        (DataType.INT64, -(1 << 63), -(1 << 63)),
        (DataType.UINT8, 255, 255),
        (DataType.FP16, float("-inf"), float("-inf")),
        (DataType.BF16, 1.0, 0x3F80),
        (DataType.BF16, float("-inf"), 0xFF80),
        (DataType.BF16, 1.00390625, 0x3F80),  # half way: to the even one
        (DataType.BYTES, "-", b"-"),
        (DataType.BYTES, None, b""),
        (DataType.FP64, None, 0.0),
    ],
)
def test_the_value_is_of_the_inputs_type(datatype: DataType, value: Any, expected: Any) -> None:
    padded = plan({"inputs": {"X": {"value": value}}}, datatype=datatype)
    long: Any = np.full((1, 2), b"x", object) if datatype is DataType.BYTES else np.zeros((1, 2), datatype.dtype)
    requests = []
    for array in (long, long[:, :1]):
        tensor = Tensor("X", datatype, array.shape, array=array)
        requests.append(
            InferenceRequest("m", {"X": tensor, "ID": Tensor.from_numpy("ID", np.zeros((1, 1), np.int32))}, Nowhere())
        )
    array = join(requests, padded)["X"]
    assert array.dtype == datatype.dtype
    assert array[1, 1] == expected


def test_one_that_is_much_longer_makes_no_giant_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "MAX_PADDED_BYTES", 1000)
    padded = plan({"inputs": {"X": {}}})
    short = [request(vector(1)) for _ in range(15)]
    with pytest.raises(InvalidArgumentError, match=r"input 'X' padded to \[100\] would take 6400 bytes for 460"):
        join([request(np.ones((1, 100), np.float32)), *short], padded)
    assert join([request(np.ones((1, 100), np.float32)), *short[:6]], padded)["X"].shape == (7, 100)
    assert join([request(np.ones((1, 10_000), np.float32))], padded)["X"].shape == (1, 10_000)


members = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(0, 5), st.booleans()), min_size=1, max_size=6
)
types = st.sampled_from([DataType.FP32, DataType.INT64, DataType.BF16, DataType.BYTES])
buckets = st.sampled_from([None, [9], [1, 4, 9], [[3, 9], [5]]])


@given(members, types, buckets, st.booleans())
@settings(deadline=None)
def test_who_is_padded_gets_his_own_back(
    members: list[tuple[int, int, int, bool]], datatype: DataType, sizes: Any, pooled: bool
) -> None:
    document = {"inputs": {"X": {"buckets": sizes, **MADE}}, "outputs": {"Y": "X"}}
    padded = plan(document, dims=(-1, 2, -1), datatype=datatype)
    requests = []
    for number, (rows, first, second, packed) in enumerate(members):
        array: Any = np.random.default_rng(number).integers(1, 9, (rows, first, 2, second))
        array = array.astype("S1").astype(object) if datatype is DataType.BYTES else array.astype(datatype.dtype)
        tensor = Tensor("X", datatype, array.shape, array=array)
        if packed:
            tensor = Tensor("X", datatype, array.shape, buffer=bytes(tensor.packed()))
        one = request(np.zeros((rows, 1), np.float32), number=number)
        one.inputs["X"] = tensor
        requests.append(one)
    inputs = join(requests, padded, HostMemoryPool(1 << 20) if pooled else None)
    size = sum(one.batch_size for one in requests)
    longest = [max(one[place] for one in members) for place in (1, 2)]
    assert all(got >= least for got, least in zip((inputs["X"].shape[1], inputs["X"].shape[3]), longest, strict=True))
    if not sizes:
        assert [inputs["X"].shape[1], inputs["X"].shape[3]] == longest
    assert inputs["M"].shape == (size, inputs["X"].shape[1], inputs["X"].shape[3])
    spread = np.broadcast_to(inputs["M"][:, :, None, :], inputs["X"].shape)
    assert not (inputs["X"][~spread] != (b"" if datatype is DataType.BYTES else 0)).any()
    start = 0
    for one, share in zip(requests, split({"Y": inputs["X"], "ID": inputs["ID"]}, requests, padded, size), strict=True):
        sent = one.inputs["X"].array()
        assert np.array_equal(share[0].array(), sent)
        assert share[1].array().ravel().tolist() == one.inputs["ID"].array().ravel().tolist()
        rows = slice(start, start + one.batch_size)
        assert (inputs["M"][rows].sum(axis=(1, 2)) == sent.shape[1] * sent.shape[3]).all()
        assert (inputs["L"][rows] == [sent.shape[1], sent.shape[3]]).all()
        start += one.batch_size


class Answers:
    def __init__(self) -> None:
        self.responses: list[InferenceResponse] = []

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        assert response is not None
        assert final
        self.responses.append(response)


def test_where_padding_would_be_a_giant_each_runs_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "MAX_PADDED_BYTES", 1000)
    fake = FakeInstance(lambda inputs: {"Y": inputs["X"], "ID": inputs["ID"]})
    padded = plan({"inputs": {"X": {}}, "outputs": {"Y": "X"}})
    instance = ModelInstance("m_0", fake, padded, "1", StatisticsRecorder("m", "1"))
    requests = [request(vector(1), number=number) for number in range(15)]
    requests.append(request(np.ones((1, 100), np.float32), number=15))
    for one in requests:
        one.sender = Answers()
        one.move(QUEUED)
    instance.run(requests, by_submitter=False)
    assert [len(batch["X"]) for batch in fake.batches] == [1] * 16
    for number, one in enumerate(requests):
        assert isinstance(one.sender, Answers)
        (response,) = one.sender.responses
        assert response["ID"].tolist() == [[number]]
        assert response["Y"].shape == one.inputs["X"].shape
    instance.close()


def empty(*shape: int) -> InferenceRequest:
    """A request for which nothing was sent, however long it says that it is."""
    inputs = {
        "X": Tensor("X", DataType.FP32, shape, buffer=b""),
        "ID": Tensor.from_numpy("ID", np.zeros((1, 1), np.int32)),
    }
    made = InferenceRequest("m", inputs, Nowhere())
    made.batch_size = 1
    return made


def test_lengths_beside_a_zero_take_no_memory() -> None:
    padded = plan({"inputs": {"X": {"mask": {"name": "M", "data_type": "TYPE_BOOL"}}}}, dims=(-1, -1))
    inputs = join([empty(1, 0, 1 << 39)], padded)
    assert (inputs["X"].shape, inputs["M"].shape) == ((1, 0, 1 << 39), (1, 0, 1 << 39))
    for neighbour in (empty(1, 0, 5), empty(1, 1 << 39, 0)):
        with pytest.raises(InvalidArgumentError, match="padded to"):
            join([empty(1, 0, 1 << 39), neighbour], padded)


@pytest.mark.parametrize(("datatype", "most"), [("BOOL", 1), ("INT8", 127), ("UINT8", 255), ("FP16", 2048)])
def test_a_length_is_never_told_as_another(datatype: str, most: int) -> None:
    document = {"inputs": {"X": {"length": {"name": "L", "data_type": f"TYPE_{datatype}"}}}}
    short, long = request(np.zeros((1, most), np.float32)), request(np.zeros((1, most + 1), np.float32))
    assert join([short], plan(document))["L"].tolist() == [most]
    with pytest.raises(InvalidArgumentError, match=f"has the length {most + 1}, but input 'L'"):
        join([short, long], plan(document))
