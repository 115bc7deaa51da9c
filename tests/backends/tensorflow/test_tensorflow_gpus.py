"""What is asked of TensorFlow for instances on GPUs, as far as a machine without one can tell: it places softly, on
the CPU.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.backends.tensorflow.exported import save, tf
from tests.backends.tensorflow.test_tensorflow_execution import load, source_of

from atoll.backends.api import Placement
from atoll.backends.tensorflow import TensorFlowBackend
from atoll.backends.tensorflow.session import session_config
from atoll.backends.tensorflow.settings import ModelSettings
from atoll.config.model_config import ModelConfig


@pytest.fixture
def negation(tmp_path: Path) -> Path:
    save(tmp_path / "model.savedmodel", lambda x: {"y": -x}, {"x": ("FP32", [None])})
    return tmp_path


def config_for(kind: str, **settings: Any) -> Any:
    return session_config(tf, ModelSettings(**settings), Placement("m_0", kind))


def test_instances_on_a_cpu_take_no_gpus_memory() -> None:
    assert config_for("KIND_CPU").device_count == {"GPU": 0}
    assert config_for("KIND_GPU").device_count == {}
    assert config_for("KIND_MODEL").device_count == {}


def test_a_gpus_memory_is_taken_as_needed_or_as_the_operator_says() -> None:
    assert config_for("KIND_GPU").gpu_options.allow_growth
    said = config_for("KIND_GPU", gpu_memory_fraction=0.5).gpu_options
    assert (said.allow_growth, said.per_process_gpu_memory_fraction) == (False, 0.5)


@pytest.mark.parametrize(("kind", "device"), [("KIND_GPU", "/device:GPU:1"), ("KIND_CPU", ""), ("KIND_MODEL", "")])
def test_a_graph_is_put_on_its_instances_gpu(negation: Path, kind: str, device: str) -> None:
    model = load(negation)
    graph: Any = model._graph
    instance = model.instance(Placement("m_0", kind, device_id=1 if kind == "KIND_GPU" else 0))
    own = {"/device:CPU:0"}  # what handles the names of files, which TensorFlow itself keeps there
    assert {one.device for one in graph.definition.node} - own == {device}
    assert instance.execute({"x": np.ones(2, np.float32)}, ["y"])["y"].tolist() == [-1, -1]
    instance.close()
    model.close()


def test_a_build_for_cpus_says_so(negation: Path) -> None:
    if tf.test.is_built_with_gpu_support():
        pytest.skip("this TensorFlow is built for GPUs")
    backend = TensorFlowBackend()
    found = backend.gpu_support(source_of(backend, negation, ModelConfig(name="m", backend="tensorflow")), (0, 1))
    assert found.gpus == ()
    assert f"the installed TensorFlow {tf.__version__} is built for CPUs only" in found.missing
