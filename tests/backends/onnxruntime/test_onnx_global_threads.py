"""One pool of threads for all models, in processes of their own: a process makes such a pool once."""

import sys
from pathlib import Path

import onnxruntime
import pytest
from onnx import TensorProto, helper
from tests.backends.conftest import RepositoryWriter
from tests.backends.onnxruntime.conftest import save, value
from tests.fresh_python import run_code


def identity(path: Path) -> None:
    values = [value(name, TensorProto.FLOAT, "n", 2) for name in ("IN", "OUT")]
    save(path, [helper.make_node("Identity", ["IN"], ["OUT"])], values[:1], values[1:])


GLOBAL_THREADS = """
import os, sys
from pathlib import Path
import numpy as np
from atoll.backends.api import ModelSource, Placement
from atoll.backends.onnxruntime import OnnxRuntimeBackend
from atoll.config.model_config import ModelConfig

directory = Path(sys.argv[1])
backend = OnnxRuntimeBackend()
settings = {"enable-global-threadpool": "1", "intra_op_thread_count": "3"}
source = ModelSource("m", 1, directory, directory / "1", ModelConfig(name="m"), settings)
threads = lambda: len(os.listdir("/proc/self/task"))
model = backend.load(source)
before = threads()
models = [backend.load(source) for _ in range(3)]
assert threads() == before, (before, threads())
out = models[0].instance(Placement("m_0")).execute({"IN": np.ones((1, 2), np.float32)}, ["OUT"])
print(out["OUT"].tolist())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.skipif(not hasattr(onnxruntime, "set_global_thread_pool_sizes"), reason="ONNX Runtime is too old for it")
def test_the_global_thread_pool_is_shared_by_all_models(repository: RepositoryWriter) -> None:
    folder = repository.model("m", None, {"model.onnx": identity})
    assert run_code(GLOBAL_THREADS, str(folder.parent)).stdout == "[[1.0, 1.0]]\n"


SHARED_BY_A_SERVER = """
import os, sys
import atoll

options = {"backend_config": ["onnxruntime,enable-global-threadpool=1"]}
with atoll.Server(sys.argv[1], **options) as server:
    print(len(server.models()))
"""


@pytest.mark.skipif(not hasattr(onnxruntime, "set_global_thread_pool_sizes"), reason="ONNX Runtime is too old for it")
def test_a_server_whose_models_are_looked_into_first_shares_threads_too() -> None:
    examples = Path(__file__).parents[3] / "examples" / "models"
    assert run_code(SHARED_BY_A_SERVER, str(examples)).stdout == f"{len(list(examples.iterdir()))}\n"
