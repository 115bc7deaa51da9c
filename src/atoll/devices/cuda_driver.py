"""Memory of GPUs, copied through the CUDA driver: of other processes, opened by handle, and of this one.

Source: the CUDA Driver API reference, sections Memory Management, Primary Context Management, Stream Management and
Error Handling. The library is loaded only when somebody asks; no package depends on it. It has not met a GPU here.

Child processes import this module too: the standard library only, on Python 3.10 and later.
"""

import ctypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

HANDLE_BYTES = 64

_LIBRARY = "libcuda.so.1"
_LAZY_PEER_ACCESS = 1  # CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS, the only flag that there is
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for what models do on the default stream

_POINTER = ctypes.c_uint64  # CUdeviceptr
_OPAQUE = ctypes.c_void_p  # CUcontext, CUstream
_SIZE = ctypes.c_size_t


class _Handle(ctypes.Structure):
    """CUipcMemHandle, which is passed by value."""

    _fields_ = [("reserved", ctypes.c_ubyte * HANDLE_BYTES)]


_ARGUMENTS: dict[str, list[type]] = {
    "cuInit": [ctypes.c_uint],
    "cuGetErrorString": [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
    "cuDeviceGet": [ctypes.POINTER(ctypes.c_int), ctypes.c_int],
    "cuDevicePrimaryCtxRetain": [ctypes.POINTER(_OPAQUE), ctypes.c_int],
    "cuCtxPushCurrent_v2": [_OPAQUE],
    "cuCtxPopCurrent_v2": [ctypes.POINTER(_OPAQUE)],
    "cuIpcOpenMemHandle_v2": [ctypes.POINTER(_POINTER), _Handle, ctypes.c_uint],
    "cuIpcCloseMemHandle": [_POINTER],
    "cuMemGetAddressRange_v2": [ctypes.POINTER(_POINTER), ctypes.POINTER(_SIZE), _POINTER],
    "cuStreamCreate": [ctypes.POINTER(_OPAQUE), ctypes.c_uint],
    "cuStreamSynchronize": [_OPAQUE],
    "cuStreamDestroy_v2": [_OPAQUE],
    "cuMemcpyDtoH_v2": [ctypes.c_void_p, _POINTER, _SIZE],
    "cuMemcpyDtoHAsync_v2": [ctypes.c_void_p, _POINTER, _SIZE, _OPAQUE],
    "cuMemcpyHtoDAsync_v2": [_POINTER, ctypes.c_void_p, _SIZE, _OPAQUE],
}


class CudaError(Exception):
    """There is no driver or no such device, or a call has failed; the text says which and why."""


class CudaDriver:
    """The driver, initialized. Thread-safe. Raises CudaError."""

    def __init__(self, library: ctypes.CDLL):
        self._library = library
        self._lock = threading.Lock()
        self._contexts: dict[int, _OPAQUE] = {}  # the devices' primary ones, kept until the process ends
        self.require(_ARGUMENTS)
        self.call("cuInit", 0)

    def require(self, functions: Mapping[str, Sequence[type]]) -> None:
        """That the driver has these functions, which take such arguments. Raises CudaError."""
        for name, arguments in functions.items():
            try:
                getattr(self._library, name).argtypes = arguments
            except AttributeError:
                raise CudaError(f"the CUDA driver is too old: it has no {name}") from None

    def open_memory(self, handle: bytes, device: int) -> "CudaMemory":
        """What the handle, 64 bytes, stands for. Raises CudaError."""
        context = self.context(device)
        pointer = _POINTER()
        with self.current(context):
            self.call(
                "cuIpcOpenMemHandle_v2", ctypes.byref(pointer), _Handle.from_buffer_copy(handle), _LAZY_PEER_ACCESS
            )
            try:
                base, size, stream = _POINTER(), _SIZE(), _OPAQUE()
                self.call("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), pointer)
                self.call("cuStreamCreate", ctypes.byref(stream), _NON_BLOCKING)
            except BaseException:
                self._library.cuIpcCloseMemHandle(pointer)
                raise
        return CudaMemory(self, context, pointer.value, base.value + size.value - pointer.value, stream)

    def read(self, device: int, pointer: int, address: int, byte_size: int) -> None:
        """Copy this process's own memory on a GPU to the host's, behind what the legacy default stream is doing. Raises
        CudaError.
        """
        with self.current(self.context(device)):
            self.call("cuMemcpyDtoH_v2", address, pointer, byte_size)

    def context(self, device: int) -> _OPAQUE:
        """The primary one of a device, which libraries on the CUDA runtime use, too. Raises CudaError."""
        with self._lock:
            context = self._contexts.get(device)
            if context is None:
                ordinal = ctypes.c_int()
                if not 0 <= device < 1 << 31:
                    raise CudaError(f"there is no device {device}")
                self.call("cuDeviceGet", ctypes.byref(ordinal), device)
                context = _OPAQUE()
                self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), ordinal)
                self._contexts[device] = context
            return context

    @contextmanager
    def current(self, context: _OPAQUE) -> Iterator[None]:
        """This context is the thread's in the block."""
        self.call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self._library.cuCtxPopCurrent_v2(ctypes.byref(_OPAQUE()))

    def call(self, name: str, *arguments: object) -> None:
        """A function of the driver. Raises CudaError where it fails."""
        status = getattr(self._library, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(status, ctypes.byref(text))
            raise CudaError(f"{name}: CUDA error {status}: {(text.value or b'unknown').decode(errors='replace')}")


class CudaMemory:
    """Memory of another process on a GPU, open for as long as this lives. `byte_size`: what its owner has allocated."""

    def __init__(self, driver: CudaDriver, context: _OPAQUE, pointer: int, byte_size: int, stream: _OPAQUE):
        self.byte_size = byte_size
        self._driver = driver
        self._context = context
        self._pointer = pointer
        self._stream = stream

    def __del__(self) -> None:
        try:
            with self._driver.current(self._context):
                self._driver.call("cuStreamDestroy_v2", self._stream)
                self._driver.call("cuIpcCloseMemHandle", self._pointer)
        except CudaError:
            pass  # the process ends, and the driver has ended before it

    def read(self, offset: int, address: int, byte_size: int) -> None:
        """Copy to host memory, and wait for it."""
        self._copy("cuMemcpyDtoHAsync_v2", address, self._pointer + offset, byte_size)

    def write(self, offset: int, address: int, byte_size: int) -> None:
        """Copy from host memory, and wait for it."""
        self._copy("cuMemcpyHtoDAsync_v2", self._pointer + offset, address, byte_size)

    def _copy(self, name: str, to: int, source: int, byte_size: int) -> None:
        with self._driver.current(self._context):
            self._driver.call(name, to, source, byte_size, self._stream)
            self._driver.call("cuStreamSynchronize", self._stream)


_lock = threading.Lock()
_driver: CudaDriver | None = None


def cuda_driver() -> CudaDriver:
    """The process's own. Raises CudaError where there is none."""
    global _driver
    with _lock:
        if _driver is None:
            try:
                library = ctypes.CDLL(_LIBRARY)
            except OSError:
                raise CudaError(f"no CUDA driver ({_LIBRARY}) was found on this machine") from None
            _driver = CudaDriver(library)
        return _driver
