"""The OpenVINO accelerator, run for real in a server whose ONNX Runtime is built with it."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from tests.backends.conftest import RepositoryWriter
from tests.backends.onnxruntime.conftest import save, value
from tests.backends.served import Serve
from tests.fresh_python import run_code


def accelerated(**parameters: str) -> str:
    written = " ".join(f"parameters {{ key: '{key}' value: '{one}' }}" for key, one in parameters.items())
    accelerator = f"{{ name: 'openvino' {written} }}"
    return (
        "backend: 'onnxruntime' max_batch_size: 8 dynamic_batching {}\n"
        f"optimization {{ execution_accelerators {{ cpu_execution_accelerator: [ {accelerator} ] }} }}\n"
    )


def scores(server: Any, model: str, images: Any) -> Any:
    document = {"name": "IMAGE", "datatype": "FP32", "shape": list(images.shape), "data": images.ravel().tolist()}
    answer = server.post(f"/v2/models/{model}/infer", {"inputs": [document]})["outputs"][0]
    return np.array(answer["data"], np.float32).reshape(answer["shape"])


def test_its_answers_are_the_cpus(
    repository: RepositoryWriter,
    serve: Serve,
    openvino_environment: dict[str, str],
    convolutions: Path,
    tmp_path: Path,
) -> None:
    files = {"model.onnx": convolutions.read_bytes()}
    compiled = tmp_path / "compiled"
    repository.model("fast", accelerated(num_of_threads="2", cache_dir=str(compiled)), files)
    repository.model("old_style", accelerated(device_type="CPU_FP32"), files)
    repository.model("plain", "backend: 'onnxruntime' max_batch_size: 8", files)
    server = serve(repository.path, env=openvino_environment)
    assert list(compiled.glob("*.blob")), "OpenVINO has not compiled anything"

    session = onnxruntime.InferenceSession(str(convolutions), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    batches = [random.normal(size=(count, 3, 16, 16)).astype(np.float32) for count in (1, 2, 8, 3, 1)]
    expected = [session.run(None, {"IMAGE": one})[0] for one in batches]
    for model in ("fast", "old_style", "plain"):
        with ThreadPoolExecutor(5) as clients:
            answers = list(clients.map(lambda one, model=model: scores(server, model, one), batches))
        for answer, wanted in zip(answers, expected, strict=True):
            np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-6)


def test_strings_beside_it_are_the_cpus_affair(
    repository: RepositoryWriter, serve: Serve, openvino_environment: dict[str, str]
) -> None:
    nodes = [helper.make_node("Cast", ["X"], ["T"], to=TensorProto.STRING)]
    inputs, outputs = [value("X", TensorProto.INT64, "n", 2)], [value("T", TensorProto.STRING, "n", 2)]
    repository.model("text", accelerated(), {"model.onnx": lambda path: save(path, nodes, inputs, outputs)})
    server = serve(repository.path, env=openvino_environment)
    document = {"name": "X", "datatype": "INT64", "shape": [1, 2], "data": [7, -1]}
    assert server.post("/v2/models/text/infer", {"inputs": [document]})["outputs"][0]["data"] == ["7", "-1"]


LOAD = """
import json, sys
from pathlib import Path
from atoll.backends.api import ModelSource, Placement
from atoll.backends.onnxruntime import OnnxRuntimeBackend
from atoll.config.textproto import read_config_text
from atoll.errors import ConfigError

backend, told = OnnxRuntimeBackend(), []
for text in json.loads(sys.argv[2]):
    directory = Path(sys.argv[1])
    config = read_config_text(text, "config.pbtxt")
    source = ModelSource("m", 1, directory, directory / "1", config)
    try:
        model = backend.load(source)
        told.append([model.bounded, model._sessions[None].get_providers()])
    except ConfigError as error:
        told.append(str(error))
print(json.dumps(told))
"""


def test_every_option_is_taken_and_what_does_not_start_is_told(
    repository: RepositoryWriter, openvino_environment: dict[str, str], convolutions: Path, tmp_path: Path
) -> None:
    folder = repository.model("m", None, {"model.onnx": convolutions.read_bytes()})
    good: list[dict[str, str]] = [
        {"precision": "ACCURACY", "num_streams": "1", "model_priority": "high"},
        {"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'},
        {"enable_opencl_throttling": "0", "enable_qdq_optimizer": "1", "disable_dynamic_shapes": "true"},
        {"reshape_input": "IMAGE[1..8,3,16,16]"},
        {"layout": "IMAGE[NCHW]"},
        {"device_type": "AUTO:CPU"},
    ]
    texts = [f"name: 'm' {accelerated(**one)}" for one in [*good, {"device_type": "GPU"}]]
    done = run_code(LOAD, str(folder.parent), json.dumps(texts), env=openvino_environment)
    *started, refused = json.loads(done.stdout)
    assert started == [[False, ["OpenVINOExecutionProvider", "CPUExecutionProvider"]]] * len(good)
    assert refused.startswith("model 'm': OpenVINOExecutionProvider ('openvino' among accelerators) did not start")
    assert "Device GPU is not available" in done.stderr


def test_accelerated_models_pass_the_suite_of_all_backends(openvino_environment: dict[str, str]) -> None:
    contract = Path(__file__).with_name("openvino_contract.py")
    of_the_class = "not entry_point and not before_a_model_needs_it"  # true of the backend, not of what accelerates it
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", of_the_class, str(contract)],
        capture_output=True,
        text=True,
        env=openvino_environment,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_without_its_package_it_is_named(
    repository: RepositoryWriter, start_server: Any, convolutions: Path, caplog: Any
) -> None:
    repository.model("fast", accelerated(), {"model.onnx": convolutions.read_bytes()})
    start_server(exit_on_error=False)
    assert "pip install onnxruntime-openvino" in caplog.text
    assert "model 'fast': the installed onnxruntime" in caplog.text
