"""What a runtime on a GPU is driven with: memory there and pinned memory here, a stream, events, captured graphs.

Source: the CUDA Driver API reference, sections Memory Management, Stream Management, Event Management and Graph
Management. It has not met a GPU here. Everything is made and used with `CudaDevice.current` round it, and freed by
whoever made it, once.
"""

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from atoll.devices.cuda_driver import CudaDriver, CudaError, cuda_driver

_OPAQUE = ctypes.c_void_p  # CUstream, CUevent, CUgraph, CUgraphExec
_POINTER = ctypes.c_uint64  # CUdeviceptr
_SIZE = ctypes.c_size_t
_INT = ctypes.c_int
_FLAGS = ctypes.c_uint

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE: pinned for every context of the process
_EVENT_BLOCKING_SYNC = 1  # CU_EVENT_BLOCKING_SYNC: whoever waits sleeps
_EVENT_DISABLE_TIMING = 2  # CU_EVENT_DISABLE_TIMING
_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on allocating
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NAME_BYTES = 256

_ARGUMENTS: dict[str, list[type]] = {
    "cuDeviceGetName": [ctypes.c_char_p, _INT, _INT],
    "cuDeviceGetAttribute": [ctypes.POINTER(_INT), _INT, _INT],
    "cuMemAlloc_v2": [ctypes.POINTER(_POINTER), _SIZE],
    "cuMemFree_v2": [_POINTER],
    "cuMemHostAlloc": [ctypes.POINTER(_OPAQUE), _SIZE, _FLAGS],
    "cuMemFreeHost": [_OPAQUE],
    "cuCtxGetStreamPriorityRange": [ctypes.POINTER(_INT), ctypes.POINTER(_INT)],
    "cuStreamCreateWithPriority": [ctypes.POINTER(_OPAQUE), _FLAGS, _INT],
    "cuEventCreate": [ctypes.POINTER(_OPAQUE), _FLAGS],
    "cuEventRecord": [_OPAQUE, _OPAQUE],
    "cuEventSynchronize": [_OPAQUE],
    "cuEventDestroy_v2": [_OPAQUE],
    "cuStreamBeginCapture_v2": [_OPAQUE, _INT],
    "cuStreamEndCapture": [_OPAQUE, ctypes.POINTER(_OPAQUE)],
    "cuGraphInstantiateWithFlags": [ctypes.POINTER(_OPAQUE), _OPAQUE, ctypes.c_ulonglong],
    "cuGraphLaunch": [_OPAQUE, _OPAQUE],
    "cuGraphExecDestroy": [_OPAQUE],
    "cuGraphDestroy": [_OPAQUE],
}


class CudaDevice:
    """A GPU, by the number that CUDA gives it in this process. Thread-safe. Raises CudaError, as all here does."""

    def __init__(self, number: int, driver: CudaDriver | None = None):
        self.number = number
        self.driver = driver or cuda_driver()
        self.driver.require(_ARGUMENTS)
        self._context = self.driver.context(number)

    def current(self) -> AbstractContextManager[None]:
        """In the block, what this thread asks of CUDA is asked of this GPU."""
        return self.driver.current(self._context)

    def describe(self) -> str:
        """Its number, name and compute capability, for an error's text."""
        device, major, minor = _INT(), _INT(), _INT()
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self.driver.call("cuDeviceGet", ctypes.byref(device), self.number)
        self.driver.call("cuDeviceGetName", name, _NAME_BYTES, device)
        self.driver.call("cuDeviceGetAttribute", ctypes.byref(major), _CAPABILITY_MAJOR, device)
        self.driver.call("cuDeviceGetAttribute", ctypes.byref(minor), _CAPABILITY_MINOR, device)
        text = name.value.decode(errors="replace")
        return f"GPU {self.number} ({text}, compute capability {major.value}.{minor.value})"

    def allocate(self, byte_size: int) -> "DeviceMemory":
        """Memory of the GPU, aligned to 256 bytes and more."""
        pointer = _POINTER()
        self.driver.call("cuMemAlloc_v2", ctypes.byref(pointer), byte_size)
        return DeviceMemory(self.driver, pointer.value, byte_size)

    def allocate_pinned(self, byte_size: int) -> "PinnedMemory":
        """Memory of the host that GPUs copy to and from by themselves."""
        address = _OPAQUE()
        self.driver.call("cuMemHostAlloc", ctypes.byref(address), byte_size, _PORTABLE)
        return PinnedMemory(self.driver, address.value or 0, byte_size)

    def stream(self, *, priority: int = 0, spin: bool = False) -> "CudaStream":
        """A stream with the highest priority (1), the lowest (-1) or the usual one. `spin`: waiting keeps a core busy,
        and ends sooner.
        """
        lowest, highest, handle = _INT(), _INT(), _OPAQUE()
        self.driver.call("cuCtxGetStreamPriorityRange", ctypes.byref(lowest), ctypes.byref(highest))
        level = {1: highest.value, -1: lowest.value}.get(priority, 0)
        self.driver.call("cuStreamCreateWithPriority", ctypes.byref(handle), _NON_BLOCKING, level)
        try:
            return CudaStream(self.driver, handle, spin)
        except BaseException:
            self.driver.call("cuStreamDestroy_v2", handle)
            raise


class DeviceMemory:
    """A stretch of a GPU's memory, until `free`."""

    def __init__(self, driver: CudaDriver, address: int, byte_size: int):
        self.address = address
        self.byte_size = byte_size
        self._driver = driver

    def free(self) -> None:
        """Give it back; what the GPU is doing with it must be over."""
        self._driver.call("cuMemFree_v2", self.address)


class PinnedMemory:
    """A stretch of the host's memory, until `free`."""

    def __init__(self, driver: CudaDriver, address: int, byte_size: int):
        self.address = address
        self.byte_size = byte_size
        self._driver = driver

    def free(self) -> None:
        """Give it back; no view of it and no copy may be left."""
        self._driver.call("cuMemFreeHost", self.address)


class CudaStream:
    """Work for a GPU, done in the order in which it is given."""

    def __init__(self, driver: CudaDriver, handle: ctypes.c_void_p, spin: bool):
        self.handle = handle.value or 0
        self._driver = driver
        self._done = _OPAQUE()
        flags = _EVENT_DISABLE_TIMING | (0 if spin else _EVENT_BLOCKING_SYNC)
        driver.call("cuEventCreate", ctypes.byref(self._done), flags)

    def copy_in(self, to: int, address: int, byte_size: int) -> None:
        """From the host to the GPU; the host's memory must stay as it is until `wait`."""
        self._driver.call("cuMemcpyHtoDAsync_v2", to, address, byte_size, self.handle)

    def copy_out(self, address: int, source: int, byte_size: int) -> None:
        """From the GPU to the host, where it is after `wait`."""
        self._driver.call("cuMemcpyDtoHAsync_v2", address, source, byte_size, self.handle)

    def wait(self) -> None:
        """Until all that was given is done. Raises CudaError where any of it failed."""
        self._driver.call("cuEventRecord", self._done, self.handle)
        self._driver.call("cuEventSynchronize", self._done)

    def drain(self) -> None:
        """The same, for when something has failed already: whatever else there is to say of it is not said."""
        with suppress(CudaError):  # a failed stream does nothing more with anybody's memory
            self._driver.call("cuStreamSynchronize", self.handle)

    @contextmanager
    def captured(self) -> Iterator["CudaGraph"]:
        """What is given in the block is not done but noted in the graph, which can be launched after it."""
        graph = CudaGraph(self._driver)
        self._driver.call("cuStreamBeginCapture_v2", self.handle, _CAPTURE_THREAD_LOCAL)
        noted = _OPAQUE()
        try:
            yield graph
        except BaseException:
            self._end_failed_capture(noted)
            raise
        self._driver.call("cuStreamEndCapture", self.handle, ctypes.byref(noted))
        graph.instantiate(noted)

    def _end_failed_capture(self, noted: ctypes.c_void_p) -> None:
        with suppress(CudaError):  # the failure that is under way says more
            self._driver.call("cuStreamEndCapture", self.handle, ctypes.byref(noted))
            if noted.value:
                self._driver.call("cuGraphDestroy", noted)

    def close(self) -> None:
        """Free the stream; nothing may be under way."""
        self._driver.call("cuEventDestroy_v2", self._done)
        self._driver.call("cuStreamDestroy_v2", self.handle)


class CudaGraph:
    """Work that was captured once and is given to the GPU as one piece."""

    def __init__(self, driver: CudaDriver):
        self._driver = driver
        self._executable = _OPAQUE()

    def instantiate(self, noted: ctypes.c_void_p) -> None:
        """Make it ready to launch, of what was noted, which is freed."""
        try:
            self._driver.call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), noted, 0)
        finally:
            self._driver.call("cuGraphDestroy", noted)

    def launch(self, stream: CudaStream) -> None:
        """Give it to the stream."""
        self._driver.call("cuGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        """Free it; it may not be under way."""
        if self._executable.value:
            self._driver.call("cuGraphExecDestroy", self._executable)
