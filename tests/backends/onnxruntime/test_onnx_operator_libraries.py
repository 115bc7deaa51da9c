"""Operators of the user's own, from a real library of them: onnxruntime-extensions."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.backends.conftest import RepositoryWriter
from tests.backends.onnxruntime.conftest import save, value
from tests.fresh_python import run_code

DOMAIN = "ai.onnx.contrib"


@pytest.fixture(scope="session")
def library() -> Path:
    import onnxruntime_extensions

    return Path(onnxruntime_extensions.get_library_path())


def upper_case(path: Path) -> None:
    """TEXT to itself in capitals, by an operator that ONNX does not have."""
    node = helper.make_node("StringUpper", ["TEXT"], ["CAPITALS"], domain=DOMAIN)
    text = [value(name, TensorProto.STRING, "n", 1) for name in ("TEXT", "CAPITALS")]
    save(path, [node], text[:1], text[1:], domains=[DOMAIN])


def config(library: str) -> str:
    return f"backend: 'onnxruntime' max_batch_size: 8 model_operations {{ op_library_filename: '{library}' }}"


def texts(*given: bytes) -> Any:
    array = np.empty((len(given), 1), np.object_)
    array[:, 0] = given
    return array


@pytest.mark.parametrize("beside", ["the file", "the configuration"])
def test_a_library_in_either_folder_is_used(
    repository: RepositoryWriter, start_server: Any, library: Path, beside: str
) -> None:
    folder = repository.model("m", config("operators.so"), {"model.onnx": upper_case})
    shutil.copy(library, (folder if beside == "the file" else folder.parent) / "operators.so")
    server = start_server()
    answer = server.infer("m", {"TEXT": texts(b"atoll", "straße".encode())})
    assert answer["CAPITALS"].ravel().tolist()[0] == b"ATOLL"


def test_its_optimized_graph_is_kept_with_the_library(
    repository: RepositoryWriter, start_server: Any, library: Path, tmp_path: Path
) -> None:
    folder = repository.model("m", config("operators.so"), {"model.onnx": upper_case})
    shutil.copy(library, folder / "operators.so")
    kept = tmp_path / "kept"
    options = {"backend_config": [f"onnxruntime,optimized-model-cache-directory={kept}"]}
    server = start_server(model_control_mode="explicit", load_model=["m"], **options)
    (entry,) = kept.glob("*.onnx")
    server.unload_model("m")
    server.load_model("m")
    assert list(kept.glob("*.onnx")) == [entry]
    assert server.infer("m", {"TEXT": texts(b"a")})["CAPITALS"].ravel().tolist() == [b"A"]


TWO_COPIES = """
import gc, sys
from pathlib import Path
import numpy as np
import onnxruntime_extensions  # the library itself, beside the models' copies
from atoll.backends.api import ModelSource, Placement
from atoll.backends.onnxruntime import OnnxRuntimeBackend
from atoll.config.textproto import read_config_text

backend = OnnxRuntimeBackend()
text = np.array([[b"a"]], object)


def source(name):
    directory = Path(sys.argv[1]) / name
    config = read_config_text((directory / "config.pbtxt").read_text(), "config.pbtxt")
    return ModelSource(name, 1, directory, directory / "1", config)


def answer(model):
    instance = model.instance(Placement("m_0"))
    found = instance.execute({"TEXT": text}, ["CAPITALS"])["CAPITALS"].tolist()
    instance.close()
    return found


one, two = (backend.load(source(name)) for name in ("one", "two"))
for _ in range(3):
    assert answer(one) == answer(two) == [[b"A"]]
    one.close()
    gc.collect()
    assert answer(two) == [[b"A"]]
    one = backend.load(source("one"))
print("whole")
"""


def test_copies_of_a_library_do_not_take_each_other_along(repository: RepositoryWriter, library: Path) -> None:
    for name in ("one", "two"):
        folder = repository.model(name, config("operators.so"), {"model.onnx": upper_case})
        shutil.copy(library, folder / "operators.so")
    assert run_code(TWO_COPIES, str(repository.path)).stdout == "whole\n"


def test_without_the_library_the_operator_is_named(
    repository: RepositoryWriter, start_server: Any, caplog: Any
) -> None:
    repository.model("m", "backend: 'onnxruntime'", {"model.onnx": upper_case})
    start_server(exit_on_error=False)
    assert "StringUpper" in caplog.text
    assert "model_operations { op_library_filename:" in caplog.text


def test_what_is_no_library_is_named(repository: RepositoryWriter, start_server: Any, caplog: Any) -> None:
    repository.model("m", config("operators.so"), {"model.onnx": upper_case, "operators.so": "not a library"})
    start_server(exit_on_error=False)
    assert "operators.so" in caplog.text
    assert "failed to load model 'm'" in caplog.text
