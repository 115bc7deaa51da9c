"""GPUs are counted as CUDA counts them."""

from pathlib import Path

import pytest

from atoll.devices import gpus as module
from atoll.devices.gpus import gpus, visible_gpus


def nobody_to_ask() -> None:
    return None


@pytest.fixture
def devices(tmp_path: Path) -> str:
    for name in ("nvidia0", "nvidia2", "nvidia11", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null"):
        (tmp_path / name).touch()
    return str(tmp_path)


def test_all_that_are_there(devices: str) -> None:
    assert visible_gpus({}, devices, count=nobody_to_ask) == (0, 1, 2)


@pytest.mark.parametrize(
    ("named", "count"),
    [
        ("0", 1),
        ("2,1", 2),
        ("0, 1 ,2", 3),
        ("GPU-aaaa,GPU-bbbb", 2),
        ("MIG-1,MIG-2,MIG-3,MIG-4", 4),
        ("", 0),
        ("-1", 0),
        ("NoDevFiles", 0),
        ("1,-1,2", 1),
        ("0,3,1", 1),
    ],
)
def test_only_those_that_the_variable_names(named: str, count: int, devices: str) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": named}, devices, count=nobody_to_ask) == tuple(range(count))


@pytest.mark.parametrize(("said", "count"), [("1", 0), ("true", 0), ("0", 3), ("", 3)])
def test_a_server_for_cpus_only_sees_none(said: str, count: int, devices: str) -> None:
    assert len(visible_gpus({"TRITON_SERVER_CPU_ONLY": said}, devices, count=nobody_to_ask)) == count


def test_none(tmp_path: Path) -> None:
    assert visible_gpus({}, str(tmp_path), count=nobody_to_ask) == ()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-aaaa"}, str(tmp_path), count=nobody_to_ask) == ()
    assert visible_gpus({}, str(tmp_path / "nowhere"), count=nobody_to_ask) == ()


def test_the_library_knows_better_than_the_files(devices: str) -> None:
    assert visible_gpus({}, devices, count=lambda: 2) == (0, 1)
    assert visible_gpus({}, devices, count=lambda: 0) == ()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1,2"}, devices, count=lambda: 2) == (0,)


def test_a_server_for_cpus_only_asks_nobody(devices: str) -> None:
    def count() -> int:
        raise AssertionError("asked")

    assert visible_gpus({"TRITON_SERVER_CPU_ONLY": "1"}, devices, count=count) == ()


def test_readings_of_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(module, "gpu_readings", lambda numbers, environment: asked.append(numbers) or ("reading",))
    monkeypatch.setattr(module, "visible_gpus", lambda environment: (0, 1))
    assert gpus({}) == ("reading",)
    monkeypatch.setattr(module, "visible_gpus", lambda environment: ())
    assert gpus({}) == ()
    assert asked == [(0, 1)]
