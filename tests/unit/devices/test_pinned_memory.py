"""Pinning through a CUDA runtime: a small library with its functions' documented signatures, compiled here, notes what
it is called with. A GPU is not needed, and what a real one does with the memory is not tested.
"""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.devices.pinned_memory import find_runtime, register
from atoll.execution.memory_pool import HostMemoryPool

SOURCE = """
#include <stddef.h>
int devices = 1, count_status = 0, register_status = 0, last_error_asked = 0, unregistered = 0;
void *registered = NULL; size_t registered_size = 0; unsigned int flags_given = 0;
int cudaGetDeviceCount(int *count) { *count = devices; return count_status; }
int cudaHostRegister(void *pointer, size_t size, unsigned int flags) {
    registered = pointer; registered_size = size; flags_given = flags; return register_status;
}
int cudaHostUnregister(void *pointer) { unregistered += pointer == registered; return 0; }
int cudaGetLastError(void) { last_error_asked++; return 0; }
const char *cudaGetErrorString(int status) { return status == 2 ? "out of memory" : "no CUDA-capable device"; }
"""

Runtime = Callable[..., ctypes.CDLL]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("cudart")
    (folder / "cudart.c").write_text(SOURCE)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", folder / "libcudart.so.12", folder / "cudart.c"], check=True, timeout=60
    )
    return folder / "libcudart.so.12"


@pytest.fixture
def runtime(library: Path, tmp_path: Path) -> Runtime:
    def load(**variables: int) -> ctypes.CDLL:
        copy = tmp_path / f"{len(list(tmp_path.iterdir()))}.so"  # with variables of its own
        shutil.copy(library, copy)
        loaded = ctypes.CDLL(str(copy))
        for name, value in variables.items():
            ctypes.c_int.in_dll(loaded, name).value = value
        return loaded

    return load


def read(runtime: ctypes.CDLL, name: str) -> int:
    return ctypes.c_int.in_dll(runtime, name).value


ADDRESS = 0x7FFF_1234_5000  # beyond 32 bits, as addresses are


def test_memory_is_registered_and_released_once(runtime: Runtime) -> None:
    cuda = runtime()
    registration = register(ADDRESS, 5 << 30, cuda)
    assert registration.refusal == ""
    assert ctypes.c_void_p.in_dll(cuda, "registered").value == ADDRESS
    assert ctypes.c_size_t.in_dll(cuda, "registered_size").value == 5 << 30
    assert read(cuda, "flags_given") == 1
    registration.release()
    registration.release()
    assert read(cuda, "unregistered") == 1


@pytest.mark.parametrize(
    ("variables", "refusal"),
    [
        ({"devices": 0}, "there is no GPU"),
        ({"count_status": 100}, "CUDA error 100: no CUDA-capable device"),
        ({"register_status": 2}, "CUDA error 2: out of memory"),
    ],
)
def test_a_refusal_is_told_and_leaves_plain_memory(runtime: Runtime, variables: dict[str, int], refusal: str) -> None:
    cuda = runtime(**variables)
    registration = register(ADDRESS, 4096, cuda)
    assert registration.refusal == refusal
    assert read(cuda, "last_error_asked") == (refusal != "there is no GPU")
    registration.release()
    assert read(cuda, "unregistered") == 0


def test_a_pool_is_pinned_once_and_unpinned_when_closed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = runtime()
    monkeypatch.setattr("atoll.devices.pinned_memory.find_runtime", lambda: cuda)
    pool = HostMemoryPool(1 << 20, 1 << 16)
    assert pool.pin()
    assert pool.pin()
    address = ctypes.c_void_p.in_dll(cuda, "registered").value
    assert address is not None
    assert address % (1 << 16) == 0
    assert ctypes.c_size_t.in_dll(cuda, "registered_size").value == 1 << 20
    pool.close()
    assert read(cuda, "unregistered") == 1


def test_the_first_library_that_loads_is_taken(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("libnosuchcudart.so.12", str(library))
    monkeypatch.setattr("atoll.devices.pinned_memory._NAMES", names)
    found = find_runtime()
    assert found is not None
    assert read(found, "devices") == 1


def test_without_a_library_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.devices.pinned_memory._NAMES", ("libnosuchcudart.so.12",))
    monkeypatch.setattr("atoll.devices.pinned_memory._packaged", list)
    assert find_runtime() is None
    assert register(ADDRESS, 4096).refusal == "no CUDA runtime library (libcudart) was found"
