"""Tensors of the in-process API: whose memory they are, how long it lives, and what DLPack says of them."""

import ctypes
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.unit.frontends.shared_memory.fake_cuda import build_library

from atoll import tritonserver as ts
from atoll.devices.cuda_driver import CudaDriver, CudaError
from atoll.dlpack import tensor_in
from atoll.tensor import DataType as EngineType
from atoll.tensor import Tensor as EngineTensor
from atoll.tritonserver import dlpack
from atoll.tritonserver.memory import host_buffer, parse_memory_type
from atoll.tritonserver.tensor import engine_tensor, placed, tensor_of

NUMBERS = [one for one in ts.DataType if one not in (ts.DataType.INVALID, ts.DataType.BYTES, ts.DataType.BF16)]


@pytest.fixture(scope="module")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """A CUDA driver whose GPUs' memory is the process's own."""
    return build_library(tmp_path_factory.mktemp("cuda"))


class Foreign:
    """Somebody's tensor: all that is known of it is `__dlpack__`."""

    def __init__(self, make: Callable[[], Any]):
        self._make = make

    def __dlpack__(self) -> Any:
        return self._make()


def zeros(data_type: ts.DataType, shape: tuple[int, ...]) -> Any:
    return np.arange(int(np.prod(shape)), dtype=np.int8).reshape(shape).astype(data_type.engine.dtype)


@pytest.mark.parametrize("data_type", NUMBERS, ids=lambda one: one.name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 2, 0)], ids=str)
def test_numbers_go_in_and_out_without_a_copy(data_type: ts.DataType, shape: tuple[int, ...]) -> None:
    array = zeros(data_type, shape)
    for source in (array, Foreign(array.__dlpack__)):
        tensor = ts.Tensor.from_dlpack(source)
        assert (tensor.data_type, tuple(tensor.shape), tensor.size) == (data_type, shape, array.nbytes)
        assert tensor.__dlpack_device__() == (1, 0)
        back = np.from_dlpack(tensor)
        assert (back.dtype, back.shape, back.tolist()) == (array.dtype, shape, array.tolist())
        if array.nbytes:
            assert tensor.data_ptr == array.ctypes.data == back.ctypes.data


def test_bf16_is_written_and_read_though_numpy_knows_it_not() -> None:
    array = np.array([[1.5, -2.0]], ml_dtypes.bfloat16)
    tensor = ts.Tensor.from_dlpack(array)
    assert tensor.data_type is ts.DataType.BF16
    again = ts.Tensor.from_dlpack(Foreign(tensor.__dlpack__))
    assert (again.data_type, tuple(again.shape), again.data_ptr) == (ts.DataType.BF16, (1, 2), array.ctypes.data)
    assert engine_tensor("IN", again).array().view(ml_dtypes.bfloat16).tolist() == [[1.5, -2.0]]


class Room(bytearray):
    """Memory that can be watched."""


WAYS: dict[str, Callable[[ts.Tensor], Any]] = {
    "tensor": lambda tensor: tensor,
    "buffer": lambda tensor: tensor.memory_buffer.view(),
    "engine": lambda tensor: engine_tensor("IN", tensor),
    "numpy": np.from_dlpack,
    "unused capsule": lambda tensor: tensor.__dlpack__(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("foreign", [False, True])
def test_memory_lives_as_long_as_it_is_held_and_no_longer(way: str, foreign: bool) -> None:
    room = Room(400)
    gone = weakref.ref(room)
    array = np.frombuffer(room, np.float32)
    tensor = ts.Tensor.from_dlpack(Foreign(array.__dlpack__) if foreign else array)
    held = WAYS[way](tensor)
    del tensor, array, room
    gc.collect()
    assert gone() is not None
    del held
    gc.collect()
    assert gone() is None
    assert not dlpack._sent


def test_what_others_may_not_write_to_is_copied_for_them() -> None:
    array = np.arange(4, dtype=np.int32)
    array.flags.writeable = False
    tensor = ts.Tensor.from_dlpack(array)
    assert tensor.data_ptr == array.ctypes.data
    copy = np.from_dlpack(tensor)
    assert copy.tolist() == [0, 1, 2, 3]
    assert copy.ctypes.data != array.ctypes.data
    with pytest.raises(BufferError, match="a copy is needed"):
        tensor.__dlpack__(copy=False)
    writable = ts.Tensor.from_dlpack(np.arange(4, dtype=np.int32))
    assert np.from_dlpack(writable, copy=True).ctypes.data != writable.data_ptr


def test_gaps_are_closed_in_arrays_and_refused_in_foreign_tensors() -> None:
    array = np.arange(6, dtype=np.int64).reshape(2, 3).T
    assert np.from_dlpack(ts.Tensor.from_dlpack(array)).tolist() == array.tolist()
    with pytest.raises(ts.InvalidArgumentError, match="row-major order without gaps"):
        ts.Tensor.from_dlpack(Foreign(array.__dlpack__))


def capsule(**fields: int) -> Any:
    """One of a tensor that says these things of itself."""
    made = dlpack.send(ts.DataType.FP32, (2,), 64, None)
    tensor = tensor_in(made)
    for name, value in fields.items():
        setattr(tensor, name, value)
    return made


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"code": 5}, "has no Triton data type"),
        ({"lanes": 4}, "has no Triton data type"),
        ({"bits": 128}, "has no Triton data type"),
        ({"device_type": 7}, "device type 7 is not supported"),
    ],
)
def test_tensors_that_cannot_be_had_are_refused(fields: dict[str, int], reason: str) -> None:
    with pytest.raises(ts.InvalidArgumentError, match=reason):
        ts.Tensor.from_dlpack(Foreign(lambda: capsule(**fields)))


@pytest.mark.parametrize("given", [3, "text", Foreign(lambda: 3), Foreign(lambda: None)])
def test_what_has_no_dlpack_is_refused(given: Any) -> None:
    with pytest.raises(ts.InvalidArgumentError, match=r"__dlpack__"):
        ts.Tensor.from_dlpack(given)


class Once:
    """The one capsule of a tensor, whoever asks."""

    def __init__(self, tensor: ts.Tensor):
        self.capsule = tensor.__dlpack__()

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def test_a_used_capsule_is_refused() -> None:
    once = Once(ts.Tensor.from_dlpack(np.zeros(3)))
    held = np.from_dlpack(once)
    with pytest.raises(ts.InvalidArgumentError, match="unused capsule"):
        ts.Tensor.from_dlpack(once)
    del once
    assert held.tolist() == [0, 0, 0]


def test_a_gpus_memory_is_known_and_never_touched() -> None:
    tensor = ts.Tensor.from_dlpack(Foreign(lambda: capsule(device_type=2, device_id=3)))
    assert (tensor.memory_type, tensor.memory_type_id) == (ts.MemoryType.GPU, 3)
    assert tensor.__dlpack_device__() == (2, 3)
    assert tensor.to_device("gpu:3") is tensor
    with pytest.raises(ts.UnsupportedError, match="not copied between GPU and GPU"):
        tensor.to_device("gpu:1")
    with pytest.raises(ts.UnsupportedError, match="use to_host"):
        tensor.memory_buffer.view()
    with pytest.raises(BufferError):
        tensor.__dlpack__()
    with pytest.raises(ts.UnsupportedError, match="not copied between CPU and GPU"):
        ts.Tensor.from_dlpack(np.zeros(1)).to_device("gpu")


class OnGpu:
    """A tensor of a library for GPUs: whoever asks for it says behind which stream it will be read."""

    def __init__(self, array: Any, device: int = 1):
        self.array = array
        self.device = device
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device

    def __dlpack__(self, *, stream: int) -> Any:
        self.streams.append(stream)
        made = dlpack.send(ts.DataType.FP32, self.array.shape, self.array.ctypes.data, self.array)
        tensor = tensor_in(made)
        tensor.device_type, tensor.device_id = 2, self.device
        return made


def test_a_gpus_tensor_is_copied_to_the_host_for_models(cuda: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.tritonserver.tensor.cuda_driver", lambda: CudaDriver(cuda))
    given = OnGpu(np.array([[1.0, 2.0]], np.float32))
    tensor = ts.Tensor.from_dlpack(given)
    assert (tensor.memory_type, tensor.data_ptr, given.streams) == (ts.MemoryType.GPU, given.array.ctypes.data, [1])
    assert engine_tensor("IN", tensor).array().tolist() == [[1.0, 2.0]]
    host = tensor.to_device("cpu")
    assert (host.memory_type, np.from_dlpack(host).tolist()) == (ts.MemoryType.CPU, [[1.0, 2.0]])
    assert host.data_ptr != tensor.data_ptr
    assert cuda.fake_open() == 0
    elsewhere = ts.Tensor.from_dlpack(OnGpu(np.ones(1, np.float32), device=7))
    with pytest.raises(ts.UnavailableError, match=r"GPU 7 cannot be copied to the host: .*invalid device ordinal"):
        elsewhere.to_host()


def test_without_a_gpu_a_gpus_tensor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> CudaDriver:
        raise CudaError("no CUDA driver was found")

    monkeypatch.setattr("atoll.tritonserver.tensor.cuda_driver", none)
    with pytest.raises(ts.UnavailableError, match=r"no CUDA driver was found; copy it .*tensor\.cpu\(\)"):
        engine_tensor("IN", ts.Tensor.from_dlpack(OnGpu(np.ones(1, np.float32))))


@given(arrays.arrays(np.object_, arrays.array_shapes(max_dims=3), elements=st.binary(max_size=20)))
def test_bytes_come_back(array: Any) -> None:
    tensor = ts.Tensor.from_bytes_array(array)
    assert tensor.data_type is ts.DataType.BYTES
    assert tensor.to_bytes_array().tolist() == array.tolist()
    assert engine_tensor("IN", tensor).array().tolist() == array.tolist()


@given(st.lists(st.text(max_size=20), max_size=5))
def test_texts_come_back(texts: list[str]) -> None:
    assert ts.Tensor.from_string_array(texts).to_string_array().tolist() == texts
    assert ts.Tensor.from_string_array(np.array(texts, np.object_)).to_string_array().tolist() == texts


def test_what_is_no_text_is_said() -> None:
    tensor = ts.Tensor.from_bytes_array([b"\xff"])
    with pytest.raises(ts.InvalidArgumentError, match="element 0 is no UTF-8"):
        tensor.to_string_array()
    with pytest.raises(ts.InvalidArgumentError, match="Tensor has data type INT32 not BYTES"):
        ts.Tensor.from_dlpack(np.zeros(3, np.int32)).to_bytes_array()
    with pytest.raises(ts.InvalidArgumentError, match="neither bytes nor texts"):
        ts.Tensor.from_bytes_array(np.zeros(3))
    with pytest.raises(BufferError, match="DLPack has no BYTES"):
        np.from_dlpack(tensor)


@pytest.mark.parametrize("shape", [(3,), (-1, -2), (2, 2)])
def test_a_tensor_that_lies_about_its_shape_is_refused(shape: tuple[int, ...]) -> None:
    tensor = ts.Tensor(ts.DataType.FP32, shape, host_buffer(np.zeros(2, np.float32)))
    with pytest.raises(ts.InvalidArgumentError, match="bytes are expected for the shape"):
        engine_tensor("IN", tensor)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("cpu", (0, 0)),
        ("gpu:1", (2, 1)),
        ("cuda", (2, 0)),
        (ts.MemoryType.CPU_PINNED, (1, 0)),
        ((ts.MemoryType.GPU, 4), (2, 4)),
        ((dlpack.DLDeviceType.kDLCUDA, 4), (2, 4)),
        (("gpu", 2), (2, 2)),
    ],
)
def test_memories_have_many_names(given: Any, expected: tuple[int, int]) -> None:
    assert parse_memory_type(given) == expected


@pytest.mark.parametrize("given", ["tpu", "gpu:x", 1.5, None, ("cpu", 1, 2), ""])
def test_what_is_no_memory_is_said(given: Any) -> None:
    with pytest.raises(ts.InvalidArgumentError, match="Invalid memory type"):
        parse_memory_type(given)


class Given(ts.MemoryAllocator):
    """Gives what it was told to."""

    def __init__(self, buffer: ts.MemoryBuffer):
        self.buffer = buffer

    def allocate(self, size: int, memory_type: ts.MemoryType, memory_type_id: int, tensor_name: str) -> ts.MemoryBuffer:
        return self.buffer


def test_outputs_lie_where_the_allocator_says() -> None:
    room = np.zeros(8, np.float32)
    tensor = placed(ts.Tensor.from_dlpack(np.arange(3, dtype=np.float32)), "OUT", Given(host_buffer(room)))
    assert (tensor.data_ptr, tensor.size) == (room.ctypes.data, 12)
    assert room.tolist() == [0, 1, 2, 0, 0, 0, 0, 0]
    small = host_buffer(np.zeros(2, np.float32))
    elsewhere = ts.MemoryBuffer(0, ts.MemoryType.GPU, 0, 1000, None)
    for wrong in (small, elsewhere):
        with pytest.raises(ts.InvalidArgumentError, match="the memory allocator gave"):
            placed(tensor, "OUT", Given(wrong))
    made = ts.default_memory_allocators[ts.MemoryType.CPU].allocate(5, ts.MemoryType.CPU, 0, "OUT")
    assert (made.size, made.memory_type) == (5, ts.MemoryType.CPU)


def test_an_output_with_gaps_becomes_one_without() -> None:
    column = np.arange(6, dtype=np.int32).reshape(3, 2)[:, 0]
    tensor = tensor_of(EngineTensor("OUT", EngineType.INT32, column.shape, array=column))
    assert np.from_dlpack(tensor).tolist() == [0, 2, 4]


@pytest.mark.parametrize("make", [lambda: ts.Tensor.from_dlpack(np.zeros(1)), lambda: host_buffer(np.zeros(1))])
def test_addresses_are_not_sent_to_other_processes(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(make())
