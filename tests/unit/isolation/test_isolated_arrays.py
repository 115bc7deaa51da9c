"""An array backend's instance in a process of its own, as the server sees it: an instance like any other."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from atoll.backends.api import Instance, ModelSource, Placement
from atoll.backends.onnxruntime import OnnxRuntimeBackend
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.errors import AtollError, ConfigError, UnavailableError
from atoll.isolation.hosted_backend import recipe
from atoll.isolation.model import IsolatedModel
from atoll.isolation.processes import Processes
from atoll.isolation.settings import IsolationSettings
from atoll.tensor import DataType

PATIENCE_S = 60
PREFIX = f"atoll_test_isolated_{os.getpid()}_"


class Metrics:
    def drop_owner(self, owner: object) -> None:
        pass


class Engine:
    """A server without models, for a model that asks for none."""

    metrics = Metrics()


def source_in(folder: Path) -> ModelSource:
    """A model that adds its input to itself, for 16 items at most."""
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", "m"]) for name in ("IN", "OUT")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["IN", "IN"], ["OUT"])], "m", tensors[:1], tensors[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    (folder / "1").mkdir()
    (folder / "1" / "model.onnx").write_bytes(model.SerializeToString())
    config = ModelConfig(
        name="m",
        backend="onnxruntime",
        max_batch_size=16,
        input=(ModelInput(name="IN", data_type=DataType.FP32, dims=(-1,)),),
        output=(ModelOutput(name="OUT", data_type=DataType.FP32, dims=(-1,)),),
    )
    return ModelSource("m", 1, folder, folder / "1", config)


@pytest.fixture
def processes() -> Iterator[Processes]:
    one = Processes()
    yield one
    one.close()


@pytest.fixture
def model(tmp_path: Path, processes: Processes) -> Iterator[IsolatedModel]:
    source = source_in(tmp_path)
    one = isolated(source, processes)
    yield one
    one.close()


def isolated(source: ModelSource, processes: Processes) -> IsolatedModel:
    settings = IsolationSettings(prefix=PREFIX)
    engine: Any = Engine()
    wanted = recipe(source, OnnxRuntimeBackend())
    return IsolatedModel(source, wanted, settings, processes, engine, takes_requests=False, instance_count=1)


@pytest.fixture
def instance(model: IsolatedModel) -> Iterator[Instance]:
    one: Any = model.instance(Placement("m_0_0"))
    yield one
    one.close()


def processes_of(name: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[1]
            except OSError:
                continue
            if int(parent) == os.getpid() and name.encode() in arguments:
                found.append(int(entry.name))
    return found


def test_batches_go_there_and_come_back(instance: Instance) -> None:
    for shape in ((1, 16), (16, 5), (2, 1 << 20), (1, 0)):
        array = np.random.default_rng(0).random(shape, np.float32)
        outputs = instance.execute({"IN": array}, ["OUT"])
        assert (outputs["OUT"] == array + array).all()
        assert outputs["OUT"].shape == shape


def test_memory_is_used_again(instance: Instance) -> None:
    array = np.ones((1, 4 << 20), np.float32)
    for number in range(8):
        assert instance.execute({"IN": array * number}, ["OUT"])["OUT"][0, 0] == 2 * number
    (pid,) = processes_of("m_0_0")
    regions = Path(f"/proc/{pid}/maps").read_text().count(f"/dev/shm/{PREFIX}")
    assert regions <= 4, "what was freed is not used again"


def test_a_batch_that_is_refused_is_the_batchs_affair(instance: Instance) -> None:
    with pytest.raises(AtollError, match="Invalid output name:NONE"):
        instance.execute({"IN": np.ones((1, 3), np.float32)}, ["NONE"])
    with pytest.raises(AtollError, match="Got: 3 Expected: 2"):
        instance.execute({"IN": np.ones((1, 2, 3), np.float32)}, ["OUT"])
    assert instance.execute({"IN": np.ones((1, 1), np.float32)}, ["OUT"])["OUT"].tolist() == [[2]]


def test_a_process_that_is_killed_is_started_again(instance: Instance) -> None:
    array = np.ones((1, 4), np.float32)
    instance.execute({"IN": array}, ["OUT"])
    (pid,) = processes_of("m_0_0")
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    refused = ""
    while True:
        try:
            outputs = instance.execute({"IN": array}, ["OUT"])
        except UnavailableError as error:
            refused = str(error)
            assert time.monotonic() < deadline
            time.sleep(0.02)
            continue
        if processes_of("m_0_0") != [pid]:
            break
    assert outputs["OUT"].tolist() == [[2, 2, 2, 2]]
    assert "SIGKILL" in refused
    assert not [name for name in os.listdir("/dev/shm") if name.startswith(PREFIX)]


def test_a_model_that_cannot_be_loaded_is_a_configs_error(tmp_path: Path, processes: Processes) -> None:
    source = source_in(tmp_path)
    (source.version_directory / "model.onnx").write_bytes(b"no model")
    model = isolated(source, processes)
    with pytest.raises(ConfigError, match=r"model\.onnx"):
        model.instance(Placement("m_0_0"))
    model.close()
    assert processes_of("m_0_0") == []


def test_nothing_is_left_when_it_is_closed(model: IsolatedModel) -> None:
    one: Any = model.instance(Placement("m_0_0"))
    assert len(processes_of("m_0_0")) == 1
    one.close()
    assert processes_of("m_0_0") == []
