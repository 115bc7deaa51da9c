"""Memory of GPUs, over a driver that is made here: how its functions are called, and what becomes of their errors."""

import ctypes
import gc

import numpy as np
import pytest
from tests.unit.frontends.shared_memory.fake_cuda import build_library

from atoll.devices import cuda_driver as module
from atoll.devices.cuda_driver import CudaDriver, CudaError
from atoll.errors import InvalidArgumentError
from atoll.frontends.shared_memory.regions import RegionTable
from atoll.protocol.region_requests import CudaRegion
from atoll.tensor import DataType, Tensor

HANDLE = b"h" + bytes(62) + b"!"
ROOM = 4000  # of 4096 bytes, the handle's pointer is at the 96th


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build_library(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def table(library: ctypes.CDLL) -> RegionTable:
    return RegionTable(driver=lambda: CudaDriver(library))


def region(byte_size: int = ROOM, device: int = 0, handle: bytes = HANDLE) -> CudaRegion:
    return CudaRegion("c", handle, device, byte_size)


def test_what_is_written_can_be_read_and_everything_is_closed(table, library):
    table.register_cuda(region(device=1))
    used = table.region("c")
    assert library.fake_open() == 110
    array = np.arange(100, dtype=np.float32).reshape(4, 25)
    for form in (array, array.T):
        assert used.write(16, Tensor("T", DataType.FP32, form.shape, array=form), 400) == 400
        view = used.read(16, 400)
        assert memoryview(view).readonly
        assert bytes(view) == form.tobytes()
    used.check()
    table.unregister_cuda()
    assert library.fake_open() == 110, "it is still used"
    del used
    gc.collect()
    assert library.fake_open() == 0


def test_too_long_a_tensor_is_not_written(table):
    table.register_cuda(region())
    used = table.region("c")
    used.write(0, Tensor("T", DataType.UINT8, (4,), array=np.zeros(4, np.uint8)), 4)
    assert used.write(0, Tensor("T", DataType.UINT8, (4,), array=np.ones(4, np.uint8)), 3) == 4
    assert used.write(0, Tensor("T", DataType.UINT8, (0,), array=np.ones(0, np.uint8)), 3) == 0
    assert bytes(used.read(0, 4)) == bytes(4)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (region(device=2), "cuDeviceGet: CUDA error 101: invalid device ordinal"),
        (region(device=-1), "there is no device -1"),
        (region(device=2**40), "there is no device 1099511627776"),
        (region(handle=b"x" * 64), "cuIpcOpenMemHandle_v2: CUDA error 400: as asked"),
        (region(handle=b"h"), "its handle has 1 bytes, expected 64"),
        (region(byte_size=ROOM + 1), "what the handle stands for has 4000"),
        (region(byte_size=0), "its size is 0 bytes"),
    ],
)
def test_what_cannot_be_registered(table, library, wanted, text):
    with pytest.raises(InvalidArgumentError, match="failed to register shared memory region: invalid args") as refused:
        table.register_cuda(wanted)
    assert text in str(refused.value)
    del refused
    gc.collect()
    assert library.fake_open() == 0
    assert table.cuda_regions() == []


def test_a_driver_without_what_is_needed():
    with pytest.raises(CudaError, match="it has no cu"):
        CudaDriver(ctypes.CDLL(None))


def test_where_there_is_no_driver(monkeypatch):
    monkeypatch.setattr(module, "_LIBRARY", "libno-such-driver.so")
    monkeypatch.setattr(module, "_driver", None)
    with pytest.raises(InvalidArgumentError, match=r"no CUDA driver .* was found on this machine"):
        RegionTable().register_cuda(region())
