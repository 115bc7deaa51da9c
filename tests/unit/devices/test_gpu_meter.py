"""Measuring GPUs. The management library is a stand-in here, as no GPU is."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.unit.devices.gpu_readings import GPU

from atoll.devices import gpu_meter, nvml
from atoll.devices.gpu_meter import GpuMeter
from atoll.devices.nvml import GpuReading
from atoll.errors import UnavailableError


class Driver:
    """Answers with `found`, or raises it, and counts how often it is asked."""

    def __init__(self, *found: GpuReading, error: Exception | None = None):
        self.found = found
        self.error = error
        self.asked = 0
        self.now = 0.0

    def readings(self, environment: Mapping[str, str]) -> tuple[GpuReading, ...]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.found

    def meter(self, interval_s: float = 2.0) -> GpuMeter:
        return GpuMeter(interval_s, {}, readings=self.readings, clock=lambda: self.now)


def test_a_reading_is_kept_for_the_interval() -> None:
    driver = Driver(GPU)
    meter = driver.meter()
    (first,) = meter.read()
    assert (first.uuid, first.used_bytes, first.utilization) == ("GPU-1", 100, 0.5)
    driver.found = (replace(GPU, used_bytes=200),)
    driver.now = 1.9
    assert meter.read()[0].used_bytes == 100
    driver.now = 2.0
    assert meter.read()[0].used_bytes == 200
    assert driver.asked == 2


def test_energy_is_that_since_the_first_reading() -> None:
    driver = Driver(GPU, replace(GPU, uuid="GPU-2", energy_joules=None))
    meter = driver.meter()
    assert [gpu.energy_joules for gpu in meter.read()] == [0.0, None]
    driver.found = (replace(GPU, energy_joules=1250.5),)
    driver.now = 2.0
    assert meter.read()[0].energy_joules == 250.5
    driver.found = (replace(GPU, energy_joules=3.0),)  # the driver was loaded anew
    driver.now = 4.0
    assert meter.read()[0].energy_joules == 3.0


@pytest.mark.parametrize("error", [None, UnavailableError("no driver"), RuntimeError("odd")])
def test_where_there_is_none_it_is_asked_seldom(error: Exception | None, caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(error=error)
    meter = driver.meter()
    for now in (0.0, 2.0, 59.0):
        driver.now = now
        assert meter.read() == ()
    assert driver.asked == 1
    driver.now = gpu_meter.LOOK_AGAIN_S
    assert meter.read() == ()
    assert driver.asked == 2
    if isinstance(error, UnavailableError):
        told = [one for one in caplog.records if one.levelno == logging.WARNING]
        assert [one.getMessage() for one in told] == ["there are no GPU metrics: no driver"]


def test_through_the_management_library(monkeypatch: pytest.MonkeyPatch) -> None:
    class RefusedError(Exception):
        pass

    def refuse(device: int) -> int:
        raise RefusedError("Not Supported")

    library = SimpleNamespace(
        NVMLError=RefusedError,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=["GPU-a", "GPU-b"].__getitem__,
        nvmlDeviceGetName=["A", "B"].__getitem__,
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(total=1000, used=100 * device),
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=25, memory=1),
        nvmlDeviceGetPowerUsage=lambda device: 65_500,
        nvmlDeviceGetEnforcedPowerLimit=refuse,
        nvmlDeviceGetTotalEnergyConsumption=lambda device: 1_000,
    )
    monkeypatch.setattr(nvml, "_library", library)
    shown = GpuMeter(2.0, {"CUDA_VISIBLE_DEVICES": "1"}).read()
    assert [(gpu.uuid, gpu.used_bytes, gpu.power_limit_watts) for gpu in shown] == [("GPU-b", 100, None)]
    assert [gpu.uuid for gpu in GpuMeter(2.0, {}).read()] == ["GPU-a", "GPU-b"]
    assert GpuMeter(2.0, {"TRITON_SERVER_CPU_ONLY": "1"}).read() == ()
