"""Host memory that GPUs copy from directly: locked to physical pages through the CUDA runtime.

Source: the CUDA Runtime API reference, sections Memory Management, Device Management and Error Handling. The library
is loaded only when somebody asks; no package depends on it. It has not met a GPU here.
"""

import ctypes
import importlib.util
from pathlib import Path

_NAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
_SUCCESS = 0
_HOST_REGISTER_PORTABLE = 1  # pinned for every CUDA context of the process, not only the current one


class HostRegistration:
    """Memory registered with CUDA, until `release`; where `refusal` says why it could not be, it is just memory."""

    def __init__(self, address: int, runtime: ctypes.CDLL | None, refusal: str = ""):
        self.refusal = refusal
        self._address = address
        self._runtime = runtime

    def release(self) -> None:
        """Unlock the memory, which must still be mapped. Calling it again does nothing."""
        if self._runtime is not None:
            self._runtime.cudaHostUnregister(ctypes.c_void_p(self._address))
            self._runtime = None


def register(address: int, byte_size: int, runtime: ctypes.CDLL | None = None) -> HostRegistration:
    """Lock this memory, if there is a CUDA runtime (`runtime`, or the one that is found) and a GPU."""
    runtime = runtime or find_runtime()
    if runtime is None:
        return HostRegistration(address, None, "no CUDA runtime library (libcudart) was found")
    count = ctypes.c_int(0)
    status = runtime.cudaGetDeviceCount(ctypes.byref(count))
    if status == _SUCCESS and count.value == 0:
        return HostRegistration(address, None, "there is no GPU")
    if status == _SUCCESS:
        status = runtime.cudaHostRegister(
            ctypes.c_void_p(address), ctypes.c_size_t(byte_size), ctypes.c_uint(_HOST_REGISTER_PORTABLE)
        )
    if status != _SUCCESS:
        refusal = _error_text(runtime, status)
        runtime.cudaGetLastError()  # or the next one who asks gets this error
        return HostRegistration(address, None, refusal)
    return HostRegistration(address, runtime)


def find_runtime() -> ctypes.CDLL | None:
    """The CUDA runtime on the library path, or the one in NVIDIA's own package."""
    for name in [*_NAMES, *_packaged()]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _packaged() -> list[str]:
    try:
        spec = importlib.util.find_spec("nvidia.cuda_runtime")
    except (ImportError, ValueError):
        return []
    folders = spec.submodule_search_locations or [] if spec is not None else []
    return [str(path) for folder in folders for path in sorted(Path(folder).glob("lib/libcudart.so*"))]


def _error_text(runtime: ctypes.CDLL, status: int) -> str:
    runtime.cudaGetErrorString.restype = ctypes.c_char_p
    text: bytes | None = runtime.cudaGetErrorString(status)
    return f"CUDA error {status}: {(text or b'unknown').decode(errors='replace')}"
