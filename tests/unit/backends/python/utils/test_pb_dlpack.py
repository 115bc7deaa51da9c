"""DLPack: tensors of other libraries in, ours out."""

import ctypes
import gc
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from atoll import dlpack
from atoll.backends.python.utils import Tensor, TritonModelException
from atoll.devices import cuda_driver
from atoll.tensor import DataType
from atoll.tensor import Tensor as Inner

WRONG = (
    "Provided tensor is not supported. Tensor must be a DLPack capsule         "
    "or have `__dlpack__` and `__dlpack_device__` attributes"
)


def bfloat16(*patterns: int) -> Tensor:
    return Tensor.received(Inner("X", DataType.BF16, (len(patterns),), buffer=np.array(patterns, "<u2").tobytes()))


class Elsewhere:
    """An object that says where it is."""

    def __init__(self, device: tuple[int, int], capsule: Any = None):
        self._device = device
        self._capsule = capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, stream: object = None) -> Any:
        return self._capsule


@pytest.mark.parametrize("dtype", [one.dtype for one in DataType if one.size and one is not DataType.BF16])
def test_both_ways_share_the_memory(dtype: Any) -> None:
    array = np.ones((2, 3), dtype)
    tensor = Tensor("X", array)
    for taken in (
        Tensor.from_dlpack("Y", tensor),
        Tensor.from_dlpack("Y", tensor.to_dlpack()),
        Tensor.from_dlpack("Y", array),
    ):
        assert np.shares_memory(taken.as_numpy(), array)
        assert (taken.name(), taken.shape(), taken.triton_dtype()) == ("Y", [2, 3], tensor.triton_dtype())
    assert np.shares_memory(np.from_dlpack(tensor), array)
    assert tensor.__dlpack_device__() == (1, 0)


def test_a_received_tensor_goes_out_in_memory_that_stays() -> None:
    tensor = Tensor.received(Inner("X", DataType.INT16, (2,), buffer=b"\1\0\2\0"))
    other = np.from_dlpack(tensor)
    assert np.shares_memory(other, tensor.as_numpy())
    del tensor
    assert other.tolist() == [1, 2]


def test_bfloat16_goes_through_as_it_is() -> None:
    tensor = bfloat16(0x3F80, 0xC000)
    taken = Tensor.from_dlpack("Y", tensor.to_dlpack())
    assert taken.inner.datatype is DataType.BF16
    assert taken.inner.array().tolist() == [0x3F80, 0xC000]
    assert bytes(taken.inner.packed()) == bytes(tensor.inner.packed())
    with pytest.raises((RuntimeError, BufferError)):
        np.from_dlpack(tensor)  # which numpy has no dtype for: the capsule says so


def test_bfloat16_as_numpy_needs_its_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = bfloat16(0x3F80, 0xC000).as_numpy()
    assert array.dtype == ml_dtypes.bfloat16
    assert array.tolist() == [1.0, -2.0]
    assert Tensor("Y", array).inner.array().tolist() == [0x3F80, 0xC000]
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TritonModelException, match="Tensor dtype is BF16 and cannot be converted to NumPy"):
        bfloat16(1).as_numpy()


def test_what_was_taken_may_be_written_to() -> None:
    array = np.zeros((2, 2), np.float32)
    Tensor.from_dlpack("Y", array).as_numpy()[0, 1] = 5
    assert array.tolist() == [[0, 5], [0, 0]]


def test_what_was_taken_holds_its_memory() -> None:
    array = np.ones(1000, np.int64)
    gone = weakref.ref(array)
    taken = Tensor.from_dlpack("Y", array).as_numpy()
    del array
    gc.collect()
    assert gone() is not None
    assert taken.sum() == 1000
    del taken
    gc.collect()
    assert gone() is None


def test_a_read_only_array_is_copied() -> None:
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    for taken in (Tensor.from_dlpack("Y", array), Tensor.from_dlpack("Y", Tensor("X", array).to_dlpack())):
        assert taken.as_numpy().tolist() == [1, 1, 1]
        assert not np.shares_memory(taken.as_numpy(), array)


@pytest.mark.parametrize("other", [5, None, "text", [1.0], Elsewhere((1, 0), 5), object()])
def test_what_is_no_tensor_is_refused(other: object) -> None:
    with pytest.raises(TritonModelException) as raised:
        Tensor.from_dlpack("Y", other)
    assert str(raised.value) == WRONG


def test_a_capsule_is_taken_once() -> None:
    capsule = Tensor("X", np.ones(1)).to_dlpack()
    Tensor.from_dlpack("Y", capsule)
    with pytest.raises(TritonModelException) as raised:
        Tensor.from_dlpack("Y", capsule)
    assert str(raised.value) == WRONG


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[:, ::2]])
def test_what_is_not_contiguous_is_refused(view: Any) -> None:
    with pytest.raises(TritonModelException, match="DLPack tensor is not contiguous"):
        Tensor.from_dlpack("Y", view(np.ones((2, 3), np.float32)))


def test_bytes_do_not_go_out() -> None:
    with pytest.raises(TritonModelException, match=r"^DLPack does not have support for string tensors\.$"):
        Tensor("X", np.array([b"a"], dtype=object)).to_dlpack()


def test_types_and_devices_that_triton_does_not_have_are_refused() -> None:
    with pytest.raises(TritonModelException, match=r"^NumPy dtype is not supported\.$"):
        Tensor.from_dlpack("Y", np.ones(1, np.complex64))
    with pytest.raises(TritonModelException, match=r"^DLDevice type 7 is not support by Python backend\.$"):
        Tensor.from_dlpack("Y", Elsewhere((7, 0)))


def test_names_are_checked() -> None:
    with pytest.raises(TypeError, match=r"^from_dlpack\(\): incompatible function arguments"):
        Tensor.from_dlpack(5, np.ones(1))  # type: ignore[arg-type]
    with pytest.raises(TritonModelException, match="empty string"):
        Tensor.from_dlpack("", np.ones(1))


def test_capsules_that_nobody_takes_are_freed() -> None:
    """In a process of its own: a wrong deleter is no exception but the end."""
    code = """
import gc, numpy as np
from atoll.backends.python.utils import Tensor
from atoll.tensor import DataType, Tensor as Inner
for _ in range(1000):
    Tensor.received(Inner("X", DataType.BF16, (2,), buffer=b"1234")).to_dlpack()
    taken = Tensor.from_dlpack("Y", Tensor.received(Inner("X", DataType.BF16, (2,), buffer=b"1234")).to_dlpack())
    Tensor("X", np.ones(2)).__dlpack__()
gc.collect()
print(bytes(taken.inner.packed()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "b'1234'\n"), done.stderr


class FakeDriver:
    """CUDA's driver over the host's memory: it notes what it is asked, and copies."""

    def __init__(self, failing: str = ""):
        self.called: list[str] = []
        self._failing = failing

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.called.append(name)
            if name == "cuMemcpyDtoH_v2":
                ctypes.memmove(*arguments)
            return 1 if name == self._failing else 0

        return call


def on_gpu(array: Any) -> Elsewhere:
    """An object whose capsules say that its memory is GPU 3's."""

    class OnGpu(Elsewhere):
        streams: list[object] = []

        def __dlpack__(self, stream: object = None) -> Any:
            self.streams.append(stream)
            capsule = array.__dlpack__()
            held = dlpack.tensor_in(capsule)
            held.device_type, held.device_id = dlpack.CUDA, 3
            return capsule

    return OnGpu((dlpack.CUDA, 3))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver = FakeDriver()
    provide(driver, monkeypatch)
    return driver


def provide(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_driver", None)
    monkeypatch.setattr(cuda_driver.ctypes, "CDLL", lambda name: driver)


def test_a_tensor_on_a_gpu_is_copied_for_the_server_and_stays_there_for_others(driver: FakeDriver) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    original = on_gpu(array)
    tensor = Tensor.from_dlpack("Y", original)
    assert not tensor.is_cpu()
    assert tensor.__dlpack_device__() == (2, 3)
    assert (tensor.shape(), tensor.triton_dtype()) == ([2, 3], DataType.FP32.number)
    assert np.array_equal(tensor.inner.array(), array)
    assert not np.shares_memory(tensor.inner.array(), array)
    assert driver.called.index("cuCtxPushCurrent_v2") < driver.called.index("cuMemcpyDtoH_v2")
    assert driver.called[-1] == "cuCtxPopCurrent_v2"
    with pytest.raises(TritonModelException, match="Tensor is stored in GPU and cannot be converted to NumPy"):
        tensor.as_numpy()
    tensor.__dlpack__(stream=2)
    assert original.streams == [1, 2]  # type: ignore[attr-defined]


def test_a_gpus_capsule_becomes_a_tensor_of_the_host(driver: FakeDriver) -> None:
    tensor = Tensor.from_dlpack("Y", on_gpu(np.ones(3, np.int64)).__dlpack__())
    assert tensor.is_cpu()
    assert tensor.as_numpy().tolist() == [1, 1, 1]


def test_what_the_driver_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver(failing="cuMemcpyDtoH_v2")
    provide(driver, monkeypatch)
    with pytest.raises(
        TritonModelException, match=r"on GPU 3 and cannot be copied from it: cuMemcpyDtoH\S+ CUDA error 1"
    ):
        Tensor.from_dlpack("Y", on_gpu(np.ones(3)))
    assert driver.called[-1] == "cuCtxPopCurrent_v2"


def test_without_a_driver_a_gpus_tensor_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cuda_driver, "_driver", None)
    monkeypatch.setattr(cuda_driver.ctypes, "CDLL", missing)
    with pytest.raises(TritonModelException, match=r"on GPU 3 and cannot be copied from it: .*libcuda\.so\.1"):
        Tensor.from_dlpack("Y", on_gpu(np.ones(3)))


def test_a_gpus_tensor_that_is_not_contiguous_is_refused(driver: FakeDriver) -> None:
    with pytest.raises(TritonModelException, match="DLPack tensor is not contiguous"):
        Tensor.from_dlpack("Y", on_gpu(np.ones((2, 3)).T))
    assert not driver.called
