"""The committed example models: as accurate as they claim, and described by their README as they are."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
ACCURACY = json.loads((EXAMPLES / "accuracy.json").read_text())


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


digits = load(EXAMPLES / "digits.py")


def session(name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(EXAMPLES / "models" / name / "1" / "model.onnx")


def test_no_held_back_digit_was_trained_on() -> None:
    train, held_back = digits.training_digits(), digits.held_back_digits()
    assert train.images.shape == (1437, 8, 8)
    assert held_back.images.shape == (360, 8, 8)
    seen = {image.tobytes() for image in train.images}
    assert not [image for image in held_back.images if image.tobytes() in seen]
    assert set(held_back.labels.tolist()) == set(range(10))


@pytest.mark.parametrize(("name", "shape"), [("digits_cnn", (-1, 1, 8, 8)), ("digits_mlp", (-1, 64))])
def test_accuracy_is_as_stated(name: str, shape: tuple[int, ...]) -> None:
    held_back = digits.held_back_digits()
    (found,) = session(name).run(None, {"PIXELS": held_back.images.reshape(shape)})
    assert found.shape == (360, 10)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    correct = int((found.argmax(axis=1) == held_back.labels).sum())
    stated = ACCURACY[name]
    assert abs(correct - stated["correct"]) <= 1, "another CPU may decide one undecided digit otherwise"
    assert stated["accuracy"] == pytest.approx(stated["correct"] / stated["held_back"], abs=1e-4)
    line = f"| `{name}` | {stated['correct']} of {stated['held_back']} | {stated['accuracy']:.2%}".replace("%", " %")
    assert line in (EXAMPLES / "README.md").read_text()


def test_simple_adds_and_subtracts() -> None:
    first, second = np.arange(32, dtype=np.int32).reshape(2, 16), np.full((2, 16), 3, np.int32)
    total, difference = session("simple").run(["OUTPUT0", "OUTPUT1"], {"INPUT0": first, "INPUT1": second})
    np.testing.assert_array_equal(total, first + second)
    np.testing.assert_array_equal(difference, first - second)


def test_greet_greets() -> None:
    (found,) = session("greet").run(None, {"NAME": np.array([["Ada"], ["Zoë"]], np.object_)})
    assert found.tolist() == [["Hello, Ada!"], ["Hello, Zoë!"]]


@pytest.mark.parametrize("name", sorted(path.name for path in (EXAMPLES / "models").iterdir()))
def test_files_are_small_whole_and_open_in_their_batch_dimension(name: str) -> None:
    path = EXAMPLES / "models" / name / "1" / "model.onnx"
    assert path.stat().st_size < 200_000
    model = onnx.load(path, load_external_data=False)
    assert not [one.name for one in model.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL]
    assert model.ir_version <= 9
    assert all(one.version <= 20 for one in model.opset_import)
    for tensor in (*model.graph.input, *model.graph.output):
        assert tensor.type.tensor_type.shape.dim[0].dim_param
