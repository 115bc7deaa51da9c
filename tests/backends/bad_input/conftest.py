"""A server process that lives through all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tests.backends.bad_input.model_files import Frail
from tests.backends.served import ServerProcess


def write_good_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("NUMBERS", "TWICE")]
    node = helper.make_node("Add", ["NUMBERS", "NUMBERS"], ["TWICE"])
    graph = helper.make_graph([node], "good", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")


@pytest.fixture(scope="package")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frail]:
    """With one model that is right. It must be the same process at the end, and end as a server does."""
    repository = tmp_path_factory.mktemp("bad_input")
    write_good_model(repository / "good" / "1")
    process = ServerProcess(repository, ["--model-control-mode=explicit", "--load-model=good"], None)
    try:
        yield Frail(process, repository)
        assert process.process.poll() is None, f"the server died:\n{''.join(process.log[-40:])}"
    finally:
        process.stop()
