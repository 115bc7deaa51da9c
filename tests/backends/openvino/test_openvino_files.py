"""Files that OpenVINO reads, and what is said of those that it cannot; that importing it tells nobody."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from atoll.config.model_config import ModelConfig
from atoll.errors import ConfigError

EXAMPLES = Path(__file__).parents[3] / "examples" / "frameworks"
ONES = np.ones((2, 4), np.float32)


def onnx_model(operator: str = "Relu") -> bytes:
    nodes = [helper.make_node(operator, ["X"], ["Y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("X", "Y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def refusal(models: Any, source: Any = None) -> str:
    """What is said of the model, by what asks for its signature and by what loads it alike."""
    source = source or models.source()
    texts = []
    for ask in (models.backend.signature, models.backend.load):
        with pytest.raises(ConfigError) as error:
            ask(source)
        texts.append(str(error.value))
    assert texts[0] == texts[1]
    assert len(texts[0]) < 4000
    assert "Exception from" not in texts[0]
    return texts[0]


def put(models: Any, filename: str, content: bytes) -> Any:
    source = models.source(default_model_filename=filename)
    (source.version_directory / filename).write_bytes(content)
    return source


def test_an_onnx_file(models: Any) -> None:
    source = put(models, "model.onnx", onnx_model())
    signature = models.backend.signature(source)
    assert [(one.name, one.shape) for one in (*signature.inputs, *signature.outputs)] == [
        ("X", (-1, 4)),
        ("Y", (-1, 4)),
    ]
    assert models.instance(source).execute({"X": -ONES}, ["Y"])["Y"].sum() == 0


@pytest.mark.parametrize(
    ("example", "filename"),
    [("savedmodel/1/model.savedmodel", "model.savedmodel"), ("graphdef/1/model.graphdef", "m.pb")],
)
def test_models_of_tensorflow(models: Any, example: str, filename: str, capfd: pytest.CaptureFixture[str]) -> None:
    source = models.source(default_model_filename=filename)
    example_path = EXAMPLES / f"digits_{example}"
    copy = shutil.copytree if example_path.is_dir() else shutil.copyfile
    copy(example_path, source.version_directory / filename)
    signature = models.backend.signature(source)
    (pixels,), (answer,) = signature.inputs, signature.outputs
    assert pixels.shape == (-1, 1, 8, 8)
    sent = np.random.default_rng(1).random((3, 1, 8, 8), np.float32)
    found = models.instance(source).execute({pixels.name: sent}, [answer.name])[answer.name]
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0.02)
    assert capfd.readouterr() == ("", "")


def test_a_file_of_another_name_is_pointed_out(models: Any) -> None:
    put(models, "net.onnx", onnx_model())
    assert 'found net.onnx there: rename it to model.xml, or set default_model_filename: "net.onnx"' in refusal(models)


def test_a_name_that_says_nothing(models: Any) -> None:
    source = put(models, "model.bytes", b"\x00\x01" * 100)
    assert re.search(r"model\.bytes': it is not known what the file is; .*\.xml, \.onnx", refusal(models, source))


def test_an_operation_that_openvino_does_not_have(models: Any) -> None:
    text = refusal(models, put(models, "model.onnx", onnx_model("Fancy")))
    assert re.search(r"Fancy.*upgrade it, or name a library that has it with the parameter CPU_EXTENSION_PATH", text)
    path = models.dense()
    path.write_bytes(path.read_bytes().replace(b'type="MatMul"', b'type="Fancy"'))
    assert re.search(rf"'{path}': .*Fancy.*CPU_EXTENSION_PATH", refusal(models))


def test_a_newer_ir(models: Any) -> None:
    path = models.dense()
    path.write_bytes(re.sub(rb'(<net [^>]*version=)"\d+"', rb'\1"99"', path.read_bytes()))
    assert re.search(rf"'{path}': .*IR version 99, .*reads versions 10 and 11: upgrade", refusal(models))


def test_an_operation_set_of_the_future(models: Any) -> None:
    path = models.dense()
    path.write_bytes(path.read_bytes().replace(b'version="opset1"', b'version="opset99"'))
    assert re.search(rf"'{path}': .*opset99.*upgrade it", refusal(models))


def test_weights_that_are_not_there(models: Any) -> None:
    path = models.dense()
    path.with_suffix(".bin").unlink()
    assert re.search(rf"'{path}': .*; 'model.bin', which holds the weights, is not beside it", refusal(models))


@pytest.mark.parametrize("share", [0, 1, 50, 99])
def test_weights_that_are_cut_off(models: Any, share: int) -> None:
    path = models.dense()
    weights = path.with_suffix(".bin")
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) * share // 100])
    size = weights.stat().st_size
    assert re.search(rf"'{path}': .*; 'model.bin' beside it has {size} bytes: it must be whole", refusal(models))


@pytest.mark.parametrize("share", [0, 5, 20, 50, 80, 99])
@pytest.mark.parametrize("filename", ["model.xml", "model.onnx"])
def test_a_file_that_is_cut_off(models: Any, filename: str, share: int, capfd: pytest.CaptureFixture[str]) -> None:
    whole = models.dense().read_bytes() if filename == "model.xml" else onnx_model()
    source = put(models, filename, whole[: len(whole) * share // 100])
    text = refusal(models, source)
    assert f"failed to load model 'm' from '{source.version_directory / filename}'" in text
    assert "export or copy it again" in text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "the file is a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "the file is a web page"),
        (b"\x00garbage" * 100, "it may be cut off or damaged"),
    ],
)
@pytest.mark.parametrize("filename", ["model.xml", "model.onnx", "model.tflite", "model.pb", "model.pdmodel"])
def test_what_is_no_model(
    models: Any, filename: str, content: bytes, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(models, put(models, filename, content))
    if filename != "model.pb":  # for that alone nothing keeps OpenVINO from complaining
        assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_no_model(models: Any) -> None:
    source = models.source(default_model_filename="model.savedmodel")
    (source.version_directory / "model.savedmodel").mkdir()
    assert "it is not a TensorFlow SavedModel" in refusal(models, source)


# ---- what the files are while the model is served


@pytest.mark.parametrize("mapped", [False, True])
def test_weights_stay_in_their_file_if_that_is_asked_for(models: Any, mapped: bool) -> None:
    path = models.dense()
    source = models.source(parameters={"ENABLE_MMAP": "YES"} if mapped else {})
    model = models.backend.load(source)
    assert (str(path.with_suffix(".bin")) in Path("/proc/self/maps").read_text()) is mapped
    model.close()
    assert str(path.with_suffix(".bin")) not in Path("/proc/self/maps").read_text()


def test_files_that_are_overwritten_harm_no_model_that_was_loaded(models: Any) -> None:
    path = models.dense()
    instance = models.instance()
    path.with_suffix(".bin").write_bytes(b"")
    path.write_bytes(b"")
    assert instance.execute({"X": ONES}, ["Y"])["Y"].tolist() == [[4.0] * 3] * 2


# ---- that it is imported late, quietly, and tells nobody

IMPORT = """
import os, socket, sys
def refuse(*arguments, **more):
    print("somebody is called", arguments)
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from atoll.backends.openvino import OpenVinoBackend
backend = OpenVinoBackend()
print("openvino" in sys.modules)
from atoll.backends.openvino.runtime import import_openvino
import_openvino()
print("openvino" in sys.modules, "openvino_telemetry" in sys.modules, os.listdir(os.environ["HOME"]))
import openvino_telemetry
"""


def test_nobody_is_told_of_the_import(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "True False []"]
    assert done.stderr == ""


def test_the_config_record_is_not_touched(models: Any) -> None:
    models.dense()
    source = models.source()
    before = ModelConfig(name="m", backend="openvino")
    models.backend.signature(source)
    assert source.config == before
