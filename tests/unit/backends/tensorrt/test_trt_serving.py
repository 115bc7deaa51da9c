"""Engines in a server that sees GPUs: the configuration that it completes, its instances, and its answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.backends.tensorrt.conftest import Engines
from tests.unit.backends.tensorrt.tensorrt_standin import plan

from atoll.backends import registry
from atoll.errors import AtollError
from atoll.models import fleet
from atoll.server import Server

ENGINE: dict[str, Any] = {
    "operation": "double",
    "inputs": {"IN": ("FLOAT", [-1, 3])},
    "outputs": {"OUT": ("FLOAT", [-1, 3])},
    "profiles": [{"IN": [[1, 3], [4, 3], [16, 3]]}],
}


@pytest.fixture
def repository(engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of one model without a configuration, before a server that sees two GPUs."""
    monkeypatch.setattr(fleet, "visible_gpus", lambda environment: (0, 1))
    monkeypatch.setitem(registry._made, "tensorrt", engines.backend)  # which a process makes once
    folder = tmp_path / "models" / "m" / "1"
    folder.mkdir(parents=True)
    (folder / "model.plan").write_bytes(plan(**ENGINE))
    return tmp_path / "models"


def test_an_engine_alone_is_enough(repository: Path, engines: Engines) -> None:
    with Server(repository) as server:
        config = server.model("m").config
        assert (config.backend, config.platform, config.max_batch_size) == ("tensorrt", "tensorrt_plan", 16)
        (group,) = config.instance_group
        assert (group.kind.name, group.count, group.gpus) == ("KIND_GPU", 1, (0, 1))
        given = np.arange(12, dtype=np.float32).reshape(4, 3)
        for _ in range(4):  # on both
            np.testing.assert_array_equal(server.infer("m", {"IN": given})["OUT"], given * 2)
        assert engines.tensorrt.deserialized >= 3
    assert not engines.cuda.left()


def test_it_loads_and_unloads(repository: Path, engines: Engines) -> None:
    with Server(repository, model_control_mode="explicit") as server:
        for _ in range(3):
            server.load_model("m")
            server.infer("m", {"IN": np.ones((2, 3), np.float32)})
            server.unload_model("m")
        server.stop()
    assert not engines.cuda.left()
    assert not list(engines.tensorrt.held)


def test_a_request_that_no_profile_takes_fails_alone(repository: Path) -> None:
    (repository / "m" / "1" / "model.plan").write_bytes(
        plan(**{**ENGINE, "inputs": {"IN": ("FLOAT", [-1, -1])}, "outputs": {"OUT": ("FLOAT", [-1, -1])}})
    )
    with Server(repository) as server:
        with pytest.raises(AtollError, match=r"shape of dimension 1 to be between 3 and 3 but received 4"):
            server.infer("m", {"IN": np.ones((2, 4), np.float32)})
        np.testing.assert_array_equal(server.infer("m", {"IN": np.ones((1, 3), np.float32)})["OUT"], [[2, 2, 2]])


@pytest.mark.parametrize("kind", ["KIND_CPU", "KIND_MODEL"])
def test_gpus_only(repository: Path, kind: str) -> None:
    (repository / "m" / "config.pbtxt").write_text(f'backend: "tensorrt" instance_group {{ kind: {kind} }}')
    with (
        Server(repository, model_control_mode="explicit") as server,
        pytest.raises(AtollError, match=f"TensorRT backend supports only GPU device: instance 'm_0_0' is {kind}"),
    ):
        server.load_model("m")


def test_without_a_gpu_one_line_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from atoll.backends.tensorrt import backend

    for place in (fleet, backend):
        monkeypatch.setattr(place, "visible_gpus", lambda environment: ())
    with Server(repository, model_control_mode="explicit") as server:
        with pytest.raises(AtollError) as caught:
            server.load_model("m")
        assert "needs an NVIDIA GPU: none is visible to this process" in str(caught.value)
        assert "\n" not in str(caught.value).strip()
