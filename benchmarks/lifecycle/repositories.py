"""Writes the model repositories of this benchmark: many small models, one whose answers tell its file, a big one."""

import math
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import TensorProto

from benchmarks.make_models import Network
from benchmarks.plan import Tensor

BENCHMARKS = Path(__file__).parents[1]
SMALL_MODEL = BENCHMARKS.parent / "examples" / "models" / "simple"
PYTHON_MODEL = BENCHMARKS / "repositories" / "rival" / "identity_fp32_16"

SCALE = "scale"
SCALE_INPUT = Tensor("IN", "FP32", (16,))
BIG = "big"

_NAME = re.compile(r"^name:.*\n", re.MULTILINE)


def copies(model: Path, target: Path, count: int) -> Path:
    """A repository of `count` copies of the model, named model_000 and so on."""
    for number in range(count):
        directory = target / f"model_{number:03}"
        shutil.copytree(model, directory, ignore=shutil.ignore_patterns("__pycache__"))
        config = directory / "config.pbtxt"
        config.write_text(_NAME.sub(f'name: "{directory.name}"\n', config.read_text()))
    return target


class ScaleModel:
    """FP32[batch,16] -> the same times a factor, in a repository of its own; each `publish` is another factor.

    The files are made beforehand: that takes processor time, which the server would miss.
    """

    def __init__(self, directory: Path, factors: Iterable[int]) -> None:
        self.repository = directory / "repository"
        self._directory = self.repository / SCALE
        self._drafts = directory / "drafts"
        (self._directory / "1").mkdir(parents=True)
        self._drafts.mkdir()
        for factor in factors:
            net = Network(SCALE, seed=0)
            net.add("Mul", "IN", net.constant(np.array(factor, np.float32)), into="OUT")
            rows = TensorProto.FLOAT, [16]
            net.save(self._draft(factor), [("IN", *rows)], [("OUT", *rows)])

    def _draft(self, factor: int) -> Path:
        return self._drafts / f"{factor}.onnx"

    def publish(self, factor: int) -> None:
        """Move the file with this factor into the place of the one before, at once and whole."""
        os.replace(self._draft(factor), self._directory / "1" / "model.onnx")

    def set_instances(self, count: int) -> None:
        """Write a configuration that differs from the one before in its number of instances only."""
        tensors = ('input [ { name: "IN"', 'output [ { name: "OUT"')
        lines = [f'name: "{SCALE}"', 'backend: "onnxruntime"', "max_batch_size: 32", "dynamic_batching { }"]
        lines += [f"{tensor} data_type: TYPE_FP32 dims: [ 16 ] }} ]" for tensor in tensors]
        lines += [f"instance_group [ {{ count: {count} kind: KIND_CPU }} ]"]
        draft = self._drafts / "config.pbtxt"
        draft.write_text("\n".join(lines) + "\n")
        os.replace(draft, self._directory / draft.name)


def big_width(megabytes: float) -> int:
    """The width of a square matrix of FP32 that takes so many megabytes (1e6 bytes)."""
    return max(math.isqrt(round(megabytes * 1e6 / 4)), 1)


def big_model(repository: Path, megabytes: float, layers: int) -> Path:
    """A chain of `layers` fully connected layers with random weights, together of that size; returns its file.

    FP32[batch,n] in and out, n as `big_width` says of one layer's share.
    """
    width = big_width(megabytes / layers)
    net = Network(BIG, seed=4)
    x = "IN"
    for layer in range(layers):
        last = layer == layers - 1
        weights, bias = net.weights(width, width, fan_in=width), net.zeros(width)
        x = net.add("Gemm", x, weights, bias, into="OUT" if last else None)
    file = repository / BIG / "1" / "model.onnx"
    file.parent.mkdir(parents=True)
    net.save(file, [("IN", TensorProto.FLOAT, [width])], [("OUT", TensorProto.FLOAT, [width])])
    return file
