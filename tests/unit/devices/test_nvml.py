"""What the management library says of GPUs. It is a stand-in here: no GPU is, and the tests say what it is asked."""

from types import SimpleNamespace

import pytest

from atoll.devices import nvml
from atoll.errors import UnavailableError


class NVMLError(Exception):
    pass


def _handle(index: int) -> int:
    if index > 3:
        raise NVMLError("Invalid Argument")
    return index


LIBRARY = SimpleNamespace(
    NVMLError=NVMLError,
    nvmlDeviceGetHandleByIndex=_handle,
    nvmlDeviceGetHandleByUUID={"GPU-aa": 2}.__getitem__,
    nvmlDeviceGetCudaComputeCapability=lambda device: (7 + device, 5),
    nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(total=1000, used=100 * device),
)


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_library", LIBRARY)


def test_facts_of_a_gpu() -> None:
    assert nvml.gpu_facts(1, {}) == nvml.GpuFacts(8.5, 1000, 100)


@pytest.mark.parametrize(("named", "device"), [("3,1", 1), ("0, GPU-aa", 2)])
def test_numbers_are_those_that_the_environment_shows(named: str, device: int) -> None:
    facts = nvml.gpu_facts(1, {"CUDA_VISIBLE_DEVICES": named})
    assert facts == nvml.GpuFacts(7.5 + device, 1000, 100 * device)


def test_what_the_library_refuses_is_told() -> None:
    with pytest.raises(UnavailableError, match="NVML does not answer about the GPUs: Invalid Argument"):
        nvml.gpu_facts(9, {})


def test_a_machine_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_library", None)
    pynvml = pytest.importorskip("pynvml")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with pytest.raises(UnavailableError, match="NVML does not answer"):
            nvml.gpu_facts(0, {})
    else:
        assert nvml.gpu_facts(0, {}).total_bytes > 0
