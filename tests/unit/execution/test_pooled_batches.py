"""Batches that are put together in the pool: the same arrays as without one, copied once, free when all is answered."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput, ModelTensorReshape
from atoll.execution.batching.batch import POOLED_BYTES, UNLOCKED_BYTES, join, plan_batches, split
from atoll.execution.memory_pool import HostMemoryPool
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor


class Nowhere:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        raise AssertionError("joining sends nothing")


def plan_of(datatype: DataType, width: int) -> Any:
    return plan_batches(
        ModelConfig(
            name="m",
            max_batch_size=64,
            input=(
                ModelInput(name="X", data_type=datatype, dims=(width,)),
                ModelInput(name="TEXT", data_type=DataType.BYTES, dims=(1,)),
            ),
            output=(ModelOutput(name="X", data_type=datatype, dims=(width,)),),
        )
    )


def request(datatype: DataType, rows: int, width: int, seed: int, packed: bool) -> InferenceRequest:
    raw = np.random.default_rng(seed).integers(0, 2, rows * width * datatype.size, dtype=np.uint8)
    array = raw.view(datatype.dtype).reshape(rows, width)
    text = np.full((rows, 1), b"t%d" % seed, dtype=object)
    if packed:
        tensor = Tensor("X", datatype, array.shape, buffer=memoryview(raw.tobytes()))
    else:
        tensor = Tensor("X", datatype, array.shape, array=array)
    made = InferenceRequest(
        "m", {"X": tensor, "TEXT": Tensor("TEXT", DataType.BYTES, text.shape, array=text)}, Nowhere()
    )
    made.batch_size = rows
    return made


@given(
    st.sampled_from([DataType.FP32, DataType.BF16, DataType.BOOL, DataType.FP16, DataType.UINT64]),
    st.sampled_from([1, POOLED_BYTES // 16, POOLED_BYTES, UNLOCKED_BYTES // 4]),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9), st.booleans()), min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_the_pool_changes_nothing_but_where_a_batch_lies(
    datatype: DataType, width: int, members: list[tuple[int, int, bool]]
) -> None:
    pool = HostMemoryPool(64 << 20)
    plan = plan_of(datatype, width)
    requests = [request(datatype, rows, width, seed, packed) for rows, seed, packed in members]
    size = sum(one.batch_size for one in requests)
    joined = join(requests, plan, pool)
    alone = join(requests, plan)
    for name in ("X", "TEXT"):
        assert joined[name].dtype == alone[name].dtype
        assert joined[name].shape == alone[name].shape
        assert joined[name].tobytes() == alone[name].tobytes()
    pooled = len(requests) > 1 and joined["X"].nbytes >= POOLED_BYTES
    assert (pool.used_bytes > 0) == pooled
    shares = split({"X": joined["X"]}, requests, plan, size)  # an identity's outputs are its inputs
    del joined
    later = pool.empty((1 << 20,), np.dtype(np.uint8))
    later[:] = 0xEE
    for one, (tensor,) in zip(requests, shares, strict=True):
        assert bytes(tensor.packed()) == bytes(one.inputs["X"].packed())
    del later, tensor
    shares.clear()
    assert pool.used_bytes == 0


@pytest.mark.parametrize("packed", [True, False])
def test_a_single_requests_tensors_are_not_copied(packed: bool) -> None:
    pool = HostMemoryPool(16 << 20)
    one = request(DataType.FP32, 4, POOLED_BYTES, 1, packed)
    tensor = one.inputs["X"]
    array = join([one], plan_of(DataType.FP32, POOLED_BYTES), pool)["X"]
    sent = np.frombuffer(tensor.buffer, np.float32) if tensor.buffer is not None else tensor.array()
    assert np.shares_memory(array, sent)
    assert pool.used_bytes == 0


def test_joined_inputs_are_aligned_and_reshaped_in_place() -> None:
    pool = HostMemoryPool(16 << 20, 4096)
    plan = plan_batches(
        ModelConfig(
            name="m",
            max_batch_size=8,
            input=(
                ModelInput(
                    name="X",
                    data_type=DataType.FP32,
                    dims=(POOLED_BYTES,),
                    reshape=ModelTensorReshape(shape=(2, POOLED_BYTES // 2)),
                ),
            ),
        )
    )
    requests = [request(DataType.FP32, 1, POOLED_BYTES, seed, True) for seed in (1, 2)]
    array = join(requests, plan, pool)["X"]
    assert array.shape == (2, 2, POOLED_BYTES // 2)
    assert array.__array_interface__["data"][0] % 4096 == 0
    assert pool.used_bytes == array.nbytes
