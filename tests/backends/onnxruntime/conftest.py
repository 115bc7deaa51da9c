"""ONNX models made on the spot, and ONNX Runtime built with OpenVINO, in a folder of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

OPENVINO_VERSION = "1.24.1"


@pytest.fixture(scope="session")
def openvino_package() -> Path:
    """A folder with the package onnxruntime-openvino: first in PYTHONPATH it takes the place of the installed one.

    It is installed once for each environment of Python, beside what is installed there.
    """
    folder = Path(sys.prefix) / f"onnxruntime-openvino-{OPENVINO_VERSION}"
    if not folder.is_dir():
        made = Path(tempfile.mkdtemp(prefix=".onnxruntime-openvino-", dir=sys.prefix))
        wanted = f"onnxruntime-openvino=={OPENVINO_VERSION}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(made), wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(made)
            assert os.environ.get("CI") != "true", done.stderr
            pytest.skip(f"{wanted} cannot be installed: {done.stderr[-500:]}")
        made.rename(folder)
    return folder


@pytest.fixture(scope="session")
def openvino_environment(openvino_package: Path) -> dict[str, str]:
    """The variables of a process that runs with that package."""
    path = os.pathsep.join([str(openvino_package), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    domains: Sequence[str] = (),
) -> None:
    """Write a model, which may have operators of other `domains` than ONNX's."""
    graph = helper.make_graph(nodes, "m", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(one, 1) for one in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def value(name: str, element: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


@pytest.fixture(scope="session")
def convolutions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network: IMAGE [n, 3, 16, 16] to SCORES [n, 10], which sum up to 1."""
    random = np.random.default_rng(5)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)

    path = tmp_path_factory.mktemp("convolutions") / "model.onnx"
    save(
        path,
        [
            helper.make_node("Conv", ["IMAGE", "W1", "B1"], ["C1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["C1"], ["R1"]),
            helper.make_node("MaxPool", ["R1"], ["P1"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Conv", ["P1", "W2"], ["C2"], pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["C2"], ["G"]),
            helper.make_node("Flatten", ["G"], ["F"]),
            helper.make_node("Gemm", ["F", "W3"], ["L"]),
            helper.make_node("Softmax", ["L"], ["SCORES"], axis=-1),
        ],
        [value("IMAGE", TensorProto.FLOAT, "n", 3, 16, 16)],
        [value("SCORES", TensorProto.FLOAT, "n", 10)],
        [weights("W1", 8, 3, 3, 3), weights("B1", 8), weights("W2", 16, 8, 3, 3), weights("W3", 16, 10)],
    )
    return path
