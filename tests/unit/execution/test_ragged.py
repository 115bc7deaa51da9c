"""Ragged batches: what the model is told of shapes, and that everybody gets back what belongs to his own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.config.model_config import BatchInput, BatchOutput, ModelConfig, ModelInput, ModelOutput, ModelTensorReshape
from atoll.errors import InternalError, InvalidArgumentError
from atoll.execution.batching.batch import join, plan_batches, split
from atoll.execution.memory_pool import HostMemoryPool
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor

Kind = BatchInput.Kind
SHAPES = [(1, 3), (2, 2), (1, 0)]


class Nowhere:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        raise AssertionError("joining sends nothing")


def request(array: Any, name: str = "X", packed: bool = False, **others: Any) -> InferenceRequest:
    tensors = {}
    for key, one in {name: array, **others}.items():
        tensor = Tensor.from_numpy(key, one)
        tensors[key] = Tensor(key, tensor.datatype, tensor.shape, buffer=bytes(tensor.packed())) if packed else tensor
    made = InferenceRequest("m", tensors, Nowhere())
    made.batch_size = array.shape[0]
    return made


def config(
    *kinds: Kind,
    dims: tuple[int, ...] = (-1,),
    datatype: DataType = DataType.FP32,
    made: DataType = DataType.INT32,
    reshape: tuple[int, ...] | None = None,
    max_batch_size: int = 64,
) -> ModelConfig:
    return ModelConfig(
        name="m",
        max_batch_size=max_batch_size,
        input=(
            ModelInput(
                name="X",
                data_type=datatype,
                dims=dims,
                allow_ragged_batch=True,
                optional=True,
                reshape=None if reshape is None else ModelTensorReshape(shape=reshape),
            ),
        ),
        output=(ModelOutput(name="Y", data_type=datatype, dims=dims),),
        batch_input=tuple(
            BatchInput(kind=kind, target_name=(kind.name,), data_type=made, source_input=("X",)) for kind in kinds
        ),
        batch_output=(BatchOutput(target_name=("Y",), source_input=("X",)),),
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.BATCH_ELEMENT_COUNT, [3, 4, 0]),
        (Kind.BATCH_ACCUMULATED_ELEMENT_COUNT, [3, 7, 7]),
        (Kind.BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO, [0, 3, 7, 7]),
        (Kind.BATCH_MAX_ELEMENT_COUNT_AS_SHAPE, [0, 0, 0, 0]),
        (Kind.BATCH_ITEM_SHAPE, [[3], [2], [2], [0]]),
        (Kind.BATCH_ITEM_SHAPE_FLATTEN, [3, 2, 2, 0]),
    ],
)
@pytest.mark.parametrize("made", [DataType.INT32, DataType.FP32])
def test_what_a_model_is_told_of_the_shapes(kind: Kind, expected: list[Any], made: DataType) -> None:
    requests = [request(np.zeros(shape, np.float32)) for shape in SHAPES]
    inputs = join(requests, plan_batches(config(kind, made=made)))
    assert inputs["X"].shape == (7,)
    assert inputs[kind.name].tolist() == expected
    assert inputs[kind.name].dtype == made.dtype


def test_item_shapes_are_those_that_the_model_sees() -> None:
    requests = [request(np.zeros((1, rows, 4), np.float32)) for rows in (2, 3)]
    plan = plan_batches(config(Kind.BATCH_ITEM_SHAPE, dims=(-1, 4), reshape=(2, 2, -1)))
    assert join(requests, plan)["BATCH_ITEM_SHAPE"].tolist() == [[2, 2, 2], [2, 2, 3]]


def test_without_a_batch_dimension_there_is_one_item() -> None:
    kinds = (Kind.BATCH_ELEMENT_COUNT, Kind.BATCH_ITEM_SHAPE, Kind.BATCH_ITEM_SHAPE_FLATTEN)
    plan = plan_batches(config(*kinds, dims=(-1, -1), max_batch_size=0))
    one = request(np.zeros((2, 3), np.float32))
    one.batch_size = 1
    inputs = join([one], plan)
    assert [inputs[kind.name].tolist() for kind in kinds] == [[6], [[2, 3]], [2, 3]]
    (tensors,) = split({"Y": np.arange(6, dtype=np.float32)}, [one], plan, 1)
    assert tensors[0].shape == (2, 3)


def test_several_targets_get_the_same() -> None:
    made = BatchInput(target_name=("A", "B"), data_type=DataType.INT32, source_input=("X",))
    plan = plan_batches(ModelConfig(name="m", max_batch_size=2, input=config().input, batch_input=(made,)))
    inputs = join([request(np.zeros((1, 2), np.float32))], plan)
    assert inputs["A"].tolist() == inputs["B"].tolist() == [2]


def test_nothing_is_made_of_an_input_that_was_left_out() -> None:
    left_out = InferenceRequest("m", {}, Nowhere())
    plan = plan_batches(config(*Kind))
    assert join([left_out], plan) == {}
    with pytest.raises(InvalidArgumentError, match=r"cut by the shape of input 'X', which the request leaves out"):
        split({"Y": np.zeros(0, np.float32)}, [left_out], plan, 1)


def test_counts_that_the_type_does_not_hold_are_the_requests_fault() -> None:
    large = Tensor("X", DataType.BOOL, (1, 1 << 31), array=np.broadcast_to(np.zeros(1, np.bool_), (1, 1 << 31)))
    one = InferenceRequest("m", {"X": large}, Nowhere())
    (maker,) = plan_batches(config(Kind.BATCH_ELEMENT_COUNT)).makers[1:]
    with pytest.raises(InvalidArgumentError, match="too many elements to be counted in BATCH_ELEMENT_COUNT"):
        maker.make([one], None, {})


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (
            np.zeros(6, np.float32),
            "has 6 elements, but cut by the shapes of input 'X' the requests of this batch get 7",
        ),
        (np.zeros(7, np.float64), "unexpected datatype TYPE_FP64 for inference output 'Y', expecting TYPE_FP32"),
    ],
)
def test_an_output_that_cannot_be_cut_answers_nobody(output: Any, text: str) -> None:
    requests = [request(np.zeros(shape, np.float32)) for shape in SHAPES]
    with pytest.raises(InternalError, match=text):
        split({"Y": output}, requests, plan_batches(config()), 4)


def test_dimensions_of_a_cut_output_are_taken_by_their_place() -> None:
    model = ModelConfig(
        name="m",
        max_batch_size=8,
        input=(ModelInput(name="X", data_type=DataType.FP32, dims=(-1, 2), allow_ragged_batch=True),),
        output=(ModelOutput(name="Y", data_type=DataType.FP32, dims=(-1, 3)),),
        batch_output=(BatchOutput(target_name=("Y",), source_input=("X",)),),
    )
    requests = [request(np.zeros((rows, length, 2), np.float32)) for rows, length in ((1, 2), (2, 1))]
    shares = split({"Y": np.arange(12, dtype=np.float32)}, requests, plan_batches(model), 3)
    assert [share[0].array().tolist() for share in shares] == [[[[0, 1, 2], [3, 4, 5]]], [[[6, 7, 8]], [[9, 10, 11]]]]


members = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 6), st.integers(0, 3), st.integers(0, 99), st.booleans()),
    min_size=1,
    max_size=6,
)


@given(members, st.sampled_from([DataType.FP32, DataType.INT8, DataType.BOOL, DataType.BYTES]), st.booleans())
def test_what_is_put_together_comes_apart_as_it_was(
    members: list[tuple[int, int, int, int, bool]], datatype: DataType, pooled: bool
) -> None:
    requests = []
    for rows, first, second, seed, packed in members:
        array: Any = np.random.default_rng(seed).integers(0, 2, (rows, first, second)).astype(np.int8)
        array = array.astype("S1").astype(object) if datatype is DataType.BYTES else array.astype(datatype.dtype)
        requests.append(request(array, packed=packed))
    plan = plan_batches(config(Kind.BATCH_ACCUMULATED_ELEMENT_COUNT, dims=(-1, -1), datatype=datatype))
    inputs = join(requests, plan, HostMemoryPool(1 << 20) if pooled else None)
    assert inputs["X"].ndim == 1
    assert inputs["BATCH_ACCUMULATED_ELEMENT_COUNT"][-1] == inputs["X"].size
    size = sum(one.batch_size for one in requests)
    for returned in (inputs["X"], inputs["X"].reshape(1, -1)):
        for one, (tensor,) in zip(requests, split({"Y": returned}, requests, plan, size), strict=True):
            assert tensor.shape == one.inputs["X"].shape
            assert np.array_equal(tensor.array(), one.inputs["X"].array())
