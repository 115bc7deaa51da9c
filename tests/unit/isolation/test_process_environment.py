"""The variables of a child."""

from pathlib import Path

import pytest

from atoll.errors import ConfigError
from atoll.isolation import environment
from atoll.isolation.environment import THREAD_COUNTS, child_environment, device_id_in_child, threads_per_instance


def test_all_thread_counts_are_set_and_the_rest_is_kept() -> None:
    assert child_environment({"HOME": "/h"}, threads=3) == {"HOME": "/h", **dict.fromkeys(THREAD_COUNTS, "3")}


def test_what_the_operator_set_wins() -> None:
    found = child_environment({"MKL_NUM_THREADS": "7"}, threads=3)
    assert found["MKL_NUM_THREADS"] == "7"
    assert found["OMP_NUM_THREADS"] == "3"


def test_the_operators_openmp_count_is_that_of_all() -> None:
    assert child_environment({"OMP_NUM_THREADS": "7"}, threads=3) == {"OMP_NUM_THREADS": "7"}


def test_an_environments_own_variables_win_over_the_servers() -> None:
    found = child_environment({"A": "1", "B": "1"}, threads=1, replaced={"B": "2", "OMP_NUM_THREADS": "9"})
    assert found == {"A": "1", "B": "2", "OMP_NUM_THREADS": "9"}


def test_what_an_environment_leaves_empty_is_taken_away() -> None:
    found = child_environment({"PYTHONHOME": "/usr", "B": ""}, threads=1, replaced={"PYTHONHOME": ""})
    assert "PYTHONHOME" not in found
    assert found["B"] == ""


@pytest.mark.parametrize(
    ("visible", "number", "expected"),
    [(None, 3, "3"), ("4,5,6", 1, "5"), ("GPU-aaaa, MIG-bbbb", 1, "MIG-bbbb")],
)
def test_an_instance_sees_its_own_gpu(visible: str | None, number: int, expected: str) -> None:
    server = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = child_environment(server, threads=1, device=("KIND_GPU", number))
    assert found["CUDA_VISIBLE_DEVICES"] == expected
    assert device_id_in_child(("KIND_GPU", number)) == 0


@pytest.mark.parametrize("kind", ["KIND_CPU", "KIND_MODEL"])
def test_other_instances_see_what_the_server_sees(kind: str) -> None:
    assert "CUDA_VISIBLE_DEVICES" not in child_environment({}, threads=1, device=(kind, 2))
    found = child_environment({"CUDA_VISIBLE_DEVICES": "1,2"}, threads=1, device=(kind, 2))
    assert found["CUDA_VISIBLE_DEVICES"] == "1,2"
    assert device_id_in_child((kind, 2)) == 2


def test_a_gpu_that_is_hidden_from_the_server() -> None:
    with pytest.raises(ConfigError, match=r"GPU 2, but CUDA_VISIBLE_DEVICES=0,1 leaves the server 2: correct 'gpus'"):
        child_environment({"CUDA_VISIBLE_DEVICES": "0,1"}, threads=1, device=("KIND_GPU", 2))


def test_cores_are_shared_among_instances() -> None:
    assert [threads_per_instance(n, cores=8) for n in (0, 1, 3, 8, 50)] == [8, 8, 2, 1, 1]
    assert threads_per_instance(1) == environment.usable_cores() >= 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "what is this"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_control_groups_quota(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert environment._quota(str(tmp_path)) == expected
