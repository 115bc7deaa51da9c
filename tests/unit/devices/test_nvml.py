"""What the management library says of GPUs. It is a stand-in here: no GPU is, and the tests say what it is asked."""

import sys
from types import SimpleNamespace

import pytest

from atoll.devices import nvml
from atoll.errors import MissingExtraError, UnavailableError


class NVMLError(Exception):
    pass


def _handle(index: int) -> int:
    if index > 3:
        raise NVMLError("Invalid Argument")
    return index


def _refuse(device: int) -> int:
    raise NVMLError("Not Supported")


LIBRARY = SimpleNamespace(
    NVMLError=NVMLError,
    nvmlDeviceGetCount=lambda: 4,
    nvmlDeviceGetUUID=["GPU-00", "GPU-11", "GPU-aa", b"GPU-aabb"].__getitem__,
    nvmlDeviceGetName=["A", "B", "C", b"D"].__getitem__,
    nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=25 * device, memory=1),
    nvmlDeviceGetPowerUsage=lambda device: 65_500,
    nvmlDeviceGetEnforcedPowerLimit=lambda device: 300_000,
    nvmlDeviceGetTotalEnergyConsumption=lambda device: 1_234_567,
    nvmlDeviceGetHandleByIndex=_handle,
    nvmlDeviceGetHandleByUUID={"GPU-aa": 2, "GPU-11": 1, "MIG-7": 3}.__getitem__,
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


def test_a_reading() -> None:
    (found,) = nvml.gpu_readings([1], {})
    assert found == nvml.GpuReading(
        number=1,
        uuid="GPU-11",
        name="B",
        total_bytes=1000,
        used_bytes=100,
        utilization=0.25,
        power_watts=65.5,
        power_limit_watts=300.0,
        energy_joules=1234.567,
    )


@pytest.mark.parametrize(("named", "uuid"), [("GPU-1,0", "GPU-11"), ("GPU-aa", "GPU-aa"), ("MIG-7", "GPU-aabb")])
def test_identities_may_be_cut_short(named: str, uuid: str) -> None:
    (found,) = nvml.gpu_readings([0], {"CUDA_VISIBLE_DEVICES": named})
    assert (found.number, found.uuid) == (0, uuid)


def test_what_a_gpu_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MemoryInfo", "UtilizationRates", "PowerUsage", "EnforcedPowerLimit", "TotalEnergyConsumption"):
        monkeypatch.setattr(LIBRARY, f"nvmlDeviceGet{name}", _refuse)
    (found,) = nvml.gpu_readings([3], {})
    assert (found.uuid, found.name) == ("GPU-aabb", "D")
    assert {found.total_bytes, found.used_bytes, found.utilization, found.power_watts} == {None}
    assert {found.power_limit_watts, found.energy_joules} == {None}


def test_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert nvml.gpu_count() == 4
    monkeypatch.setattr(LIBRARY, "nvmlDeviceGetCount", lambda: _refuse(0))
    assert nvml.gpu_count() is None


def test_without_the_package_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_library", None)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.gpu_count() is None
    with pytest.raises(MissingExtraError, match=r"pip install 'atoll\[gpu\]'"):
        nvml.gpu_readings([0], {})
