"""Which GPUs are used and when one is too full."""

import pytest

from atoll.devices.nvml import GpuFacts
from atoll.errors import InvalidArgumentError, UnavailableError
from atoll.models import gpu_limits
from atoll.models.gpu_limits import GpuLimits, capable_gpus

FACTS = {0: GpuFacts(6.1, 1000, 810), 1: GpuFacts(9.0, 1000, 790)}


def limits(*options: str) -> GpuLimits:
    return GpuLimits(options, FACTS.__getitem__)


def test_a_gpu_that_is_too_full_takes_no_instance() -> None:
    limited = limits("0:0.8", "1:0.8")
    limited.check("m", "KIND_GPU", 1)
    with pytest.raises(UnavailableError, match=r"memory limit set for KIND_GPU 0 has exceeded.*81%.*0:0.8"):
        limited.check("m", "KIND_GPU", 0)


def test_neither_instances_on_the_cpu_nor_other_gpus_are_limited() -> None:
    limited = limits("0:0")
    limited.check("m", "KIND_CPU", 0)
    limited.check("m", "KIND_GPU", 1)
    with pytest.raises(UnavailableError):
        limited.check("m", "KIND_GPU", 0)


@pytest.mark.parametrize("option", ["", "0", "0:", "x:0.5", "0:half", ":0.5", "0:-1", "0:.", "0:1.0.0", "0:1e-1"])
def test_the_form_is_told(option: str) -> None:
    with pytest.raises(InvalidArgumentError, match="<device_id>:<fraction>"):
        limits(option)


def test_a_fraction_is_at_most_one() -> None:
    with pytest.raises(InvalidArgumentError, match=r"range \[0.0, 1.0\], got 2.000000"):
        limits("0:2")


def test_old_gpus_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_limits, "gpu_facts", lambda number, environment: FACTS[number])
    assert capable_gpus((0, 1), 6.1, {}) == (0, 1)
    assert capable_gpus((0, 1), 7, {}) == (1,)


def test_without_the_option_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_limits, "gpu_facts", FACTS.__getitem__)  # which takes no environment
    assert capable_gpus((0, 1), None, {}) == (0, 1)
