"""Writes the digit models of examples/models for every other framework: the same weights, so the same answers.

Needs:   pip install -e '.[frameworks]' onnx
Run:     python examples/export_digits.py            (some only: python examples/export_digits.py digits_jax)
Reads:   examples/models/digits_cnn/1/model.onnx and examples/models/digits_mlp/1/model.onnx
Writes:  examples/frameworks/<name>/1/..., and the accuracy of the two that are trained here to examples/accuracy.json

Trees have no weights in common with nets: XGBoost's and LightGBM's are trained, on one thread and from a fixed seed.
Each framework is imported when its turn comes. Half a minute.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from digits import held_back_digits, training_digits
from networks.description import read_network

HERE = Path(__file__).parent
CONVOLUTIONAL = HERE / "models" / "digits_cnn" / "1" / "model.onnx"
PERCEPTRON = HERE / "models" / "digits_mlp" / "1" / "model.onnx"
ACCURACY = HERE / "accuracy.json"
TREES_OF_A_CLASS = 12
SEED = 7


def torchscript(version: Path) -> None:
    from networks.in_torch import save_torchscript

    save_torchscript(read_network(CONVOLUTIONAL), version / "model.pt")


def torch_export(version: Path) -> None:
    from networks.in_torch import save_exported

    save_exported(read_network(CONVOLUTIONAL), version / "model.pt2")


def torch_eager(version: Path) -> None:
    """Beside the model.py, which is written by hand: the weights under the names that its modules have."""
    import onnx
    import torch

    graph = onnx.load(CONVOLUTIONAL).graph
    weights = {one.name: torch.tensor(onnx.numpy_helper.to_array(one)) for one in graph.initializer}
    torch.save(weights, version / "model.pt")


def saved_model(version: Path) -> None:
    from networks.in_tensorflow import save_saved_model

    save_saved_model(read_network(CONVOLUTIONAL), version / "model.savedmodel")


def graph_def(version: Path) -> None:
    from networks.in_tensorflow import save_graph_def

    save_graph_def(read_network(CONVOLUTIONAL), version / "model.graphdef")


def openvino(version: Path) -> None:
    from networks.in_openvino import save_representation

    save_representation(CONVOLUTIONAL, version / "model.xml")


def jax(version: Path) -> None:
    from networks.in_jax import save_exported

    save_exported(read_network(CONVOLUTIONAL), version / "model.jax")


def sklearn(version: Path) -> None:
    """A pipeline whose classifier has seen one image of each digit, which gives it its form, and then gets weights."""
    import skops.io
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    first, *others = read_network(PERCEPTRON).steps
    layers = [step for step in others if step.weights is not None]
    widths = tuple(len(step.weights) for step in layers[:-1] if step.weights is not None)
    pixels = np.full((10, 64), first.divisor, np.float32)
    pipeline = make_pipeline(MaxAbsScaler(), MLPClassifier(widths, solver="sgd", max_iter=1, random_state=SEED))
    pipeline.named_steps["mlpclassifier"].partial_fit(pixels, range(10), classes=range(10))
    pipeline.named_steps["maxabsscaler"].fit(pixels)
    classifier = pipeline.named_steps["mlpclassifier"]
    classifier.coefs_ = [np.ascontiguousarray(step.weights.T) for step in layers if step.weights is not None]
    classifier.intercepts_ = [step.bias for step in layers]
    for of_use_to_training in ("_optimizer", "_random_state", "_best_coefs", "_best_intercepts"):
        delattr(classifier, of_use_to_training)
    skops.io.dump(pipeline, version / "model.skops")


def xgboost(version: Path) -> None:
    import xgboost as library

    model = library.XGBClassifier(
        n_estimators=TREES_OF_A_CLASS, max_depth=3, learning_rate=0.5, n_jobs=1, random_state=SEED
    )
    pixels, labels = _rows(training_digits())
    model.fit(pixels, labels)
    model.save_model(version / "xgboost.ubj")
    _note_accuracy(version, model.predict_proba)


def lightgbm(version: Path) -> None:
    import lightgbm as library

    model = library.LGBMClassifier(
        n_estimators=TREES_OF_A_CLASS, num_leaves=8, learning_rate=0.25, n_jobs=1, random_state=SEED,
        deterministic=True, verbosity=-1,
    )  # fmt: skip
    pixels, labels = _rows(training_digits())
    model.fit(pixels, labels)
    model.booster_.save_model(version / "model.txt")
    _note_accuracy(version, model.predict_proba)


def _rows(digits: Any) -> tuple[Any, Any]:
    return digits.images.reshape(-1, 64), digits.labels


def _note_accuracy(version: Path, probabilities: Callable[[Any], Any]) -> None:
    pixels, labels = _rows(held_back_digits())
    correct = int((probabilities(pixels).argmax(axis=1) == labels).sum())
    figures = {"correct": correct, "held_back": len(labels), "accuracy": round(correct / len(labels), 4)}
    noted = json.loads(ACCURACY.read_text()) | {version.parent.name: figures}
    ACCURACY.write_text(json.dumps(noted, indent=2) + "\n")


MODELS: dict[str, Callable[[Path], None]] = {
    "digits_torchscript": torchscript,
    "digits_torch_export": torch_export,
    "digits_torch_eager": torch_eager,
    "digits_savedmodel": saved_model,
    "digits_graphdef": graph_def,
    "digits_openvino": openvino,
    "digits_jax": jax,
    "digits_sklearn": sklearn,
    "digits_xgboost": xgboost,
    "digits_lightgbm": lightgbm,
}


def main(names: Sequence[str]) -> int:
    if unknown := set(names) - set(MODELS):
        print(f"no such model: {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}", file=sys.stderr)
        return 2
    for name in names or MODELS:
        version = HERE / "frameworks" / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        MODELS[name](version)
        files = [path for path in sorted(version.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
        print(f"{name}: {sum(path.stat().st_size for path in files):,} bytes in", *(path.name for path in files))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
