"""Trains `digits_cnn` and `digits_mlp` on scikit-learn's handwritten digits; writes them as ONNX, with their accuracy.

Needs, apart from what Atoll needs:  pip install torch==2.13.0 onnx onnxruntime scikit-learn
Run:                                 python examples/train_digits.py
Writes:                              examples/models/<name>/1/model.onnx and examples/accuracy.json

Takes half a minute on one core. The seed is fixed: the same packages on the same kind of machine train the same models.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from digits import held_back_digits, training_digits
from torch import nn

HERE = Path(__file__).parent
SEED = 7
BATCH = 32
INK = 16.0  # the darkest pixel: dividing by it is part of the model, so that clients send the images as they are

NETWORKS = {
    "digits_cnn": (
        (1, 8, 8),
        60,
        lambda: nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        ),
    ),
    "digits_mlp": (
        (64,),
        60,
        lambda: nn.Sequential(
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        ),
    ),
}


class Classifier(nn.Module):
    """What is exported: raw pixels in, probabilities out; `network` itself works on logits."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(pixels / INK), dim=1)


def train(network: nn.Module, shape: tuple[int, ...], epochs: int) -> None:
    """Train in place with Adam, the learning rate falling to nothing over the epochs."""
    digits = training_digits()
    images = torch.from_numpy(digits.images).reshape(-1, *shape) / INK
    labels = torch.from_numpy(digits.labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    network.train()
    for _ in range(epochs):
        for indices in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[indices]), labels[indices]).backward()
            optimizer.step()
        schedule.step()
    network.eval()


def export(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write one ONNX file of opset 17 with a dynamic batch dimension: any onnxruntime from 1.17 on loads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The TorchScript exporter is the one that needs no further package and writes names and dims as given.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Classifier(network).eval(),
            (torch.zeros(1, *shape),),
            path,
            input_names=["PIXELS"],
            output_names=["PROBABILITIES"],
            dynamic_axes={"PIXELS": {0: "batch"}, "PROBABILITIES": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def held_back_accuracy(path: Path, shape: tuple[int, ...]) -> dict[str, float | int]:
    """How many held-back digits the file at `path` gets right, run by ONNX Runtime."""
    digits = held_back_digits()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"PIXELS": digits.images.reshape(-1, *shape)})
    correct = int((np.asarray(probabilities).argmax(axis=1) == digits.labels).sum())
    return {"correct": correct, "held_back": len(digits.labels), "accuracy": round(correct / len(digits.labels), 4)}


def main() -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # the sums of a gradient do not depend on how many cores share them
    accuracy = json.loads((HERE / "accuracy.json").read_text())
    for name, (shape, epochs, make) in NETWORKS.items():
        torch.manual_seed(SEED)
        network = make()
        train(network, shape, epochs)
        path = HERE / "models" / name / "1" / "model.onnx"
        export(network, shape, path)
        accuracy[name] = held_back_accuracy(path, shape)
        print(f"{name}: {accuracy[name]['accuracy']:.2%} of the held-back digits, {path.stat().st_size:,} bytes")
    (HERE / "accuracy.json").write_text(json.dumps(accuracy, indent=2) + "\n")


if __name__ == "__main__":
    main()
