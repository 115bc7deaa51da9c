"""Writes the benchmark's ONNX models: random weights from a fixed seed, a free batch dimension, nothing learnt.

python -m benchmarks.make_models DIR    writes DIR/simple.onnx, mlp.onnx, resnet18.onnx, bert.onnx, identity_602k.onnx
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# The oldest pair that has LayerNormalization as one operator; every onnxruntime since 1.13 loads it.
OPSET, IR_VERSION = 17, 8

BERT_VOCABULARY = 8192
BERT_SEQUENCE = 64

# Name, ONNX element type, dimensions after the batch.
Port = tuple[str, int, Sequence[int]]


class Network:
    """Collects the nodes and weights of one graph; each method returns the name of the tensor that it added."""

    def __init__(self, name: str, seed: int) -> None:
        self._name = name
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: np.ndarray) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weights(self, *shape: int, fan_in: int, gain: float = 1.0) -> str:
        """Normally distributed, scaled so that activations neither overflow nor fade into denormals on the way."""
        values = self._random.standard_normal(shape) * (gain / np.sqrt(fan_in))
        return self.constant(values.astype(np.float32))

    def zeros(self, size: int) -> str:
        return self.constant(np.zeros(size, np.float32))

    def add(self, operator: str, *inputs: str, into: str | None = None, **attributes: Any) -> str:
        output = into or f"tensor_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def save(self, path: Path, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
        graph = helper.make_graph(self._nodes, self._name, _ports(inputs), _ports(outputs), self._constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="atoll-benchmarks",
            ir_version=IR_VERSION,
        )
        onnx.checker.check_model(model)
        onnx.save(model, str(path))


def _ports(ports: Sequence[Port]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, element, ["batch", *dims]) for name, element, dims in ports]


def simple(path: Path) -> None:
    """Two INT32[batch,16] -> their sum and their difference."""
    net = Network("simple", seed=0)
    net.add("Add", "INPUT0", "INPUT1", into="OUTPUT0")
    net.add("Sub", "INPUT0", "INPUT1", into="OUTPUT1")
    rows = TensorProto.INT32, [16]
    net.save(path, [("INPUT0", *rows), ("INPUT1", *rows)], [("OUTPUT0", *rows), ("OUTPUT1", *rows)])


def identity_602k(path: Path) -> None:
    """FP32[batch,3,224,224] -> the same."""
    net = Network("identity_602k", seed=0)
    net.add("Identity", "INPUT0", into="OUTPUT0")
    picture = TensorProto.FLOAT, [3, 224, 224]
    net.save(path, [("INPUT0", *picture)], [("OUTPUT0", *picture)])


def mlp(path: Path) -> None:
    """FP32[batch,128] -> 512 -> 512 -> FP32[batch,10], ReLU between."""
    net = Network("mlp", seed=1)
    hidden = net.add("Relu", net.add("Gemm", "INPUT", net.weights(128, 512, fan_in=128, gain=1.4), net.zeros(512)))
    hidden = net.add("Relu", net.add("Gemm", hidden, net.weights(512, 512, fan_in=512, gain=1.4), net.zeros(512)))
    net.add("Gemm", hidden, net.weights(512, 10, fan_in=512), net.zeros(10), into="OUTPUT")
    net.save(path, [("INPUT", TensorProto.FLOAT, [128])], [("OUTPUT", TensorProto.FLOAT, [10])])


def resnet18(path: Path) -> None:
    """FP32[batch,3,224,224] -> ResNet-18's layers, batch norm folded into the convolutions -> FP32[batch,1000]."""
    net = Network("resnet18", seed=2)

    def convolution(x: str, channels: tuple[int, int], size: int, stride: int, gain: float = 1.4) -> str:
        before, after = channels
        kernel = net.weights(after, before, size, size, fan_in=before * size * size, gain=gain)
        strides, pads = [stride, stride], [size // 2] * 4
        return net.add("Conv", x, kernel, net.zeros(after), kernel_shape=[size, size], strides=strides, pads=pads)

    def residual_block(x: str, before: int, after: int, stride: int) -> str:
        branch = net.add("Relu", convolution(x, (before, after), 3, stride))
        branch = convolution(branch, (after, after), 3, 1, gain=0.5)
        if stride != 1 or before != after:
            x = convolution(x, (before, after), 1, stride, gain=1.0)
        return net.add("Relu", net.add("Add", x, branch))

    x = net.add("Relu", convolution("INPUT", (3, 64), 7, 2))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    before = 64
    for after, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        x = residual_block(x, before, after, stride)
        x = residual_block(x, after, after, 1)
        before = after
    x = net.add("Flatten", net.add("GlobalAveragePool", x), axis=1)
    net.add("Gemm", x, net.weights(512, 1000, fan_in=512), net.zeros(1000), into="OUTPUT")
    net.save(path, [("INPUT", TensorProto.FLOAT, [3, 224, 224])], [("OUTPUT", TensorProto.FLOAT, [1000])])


def bert(path: Path) -> None:
    """INT64[batch,64] token ids below 8192 -> 4 post-norm encoder layers, 4 heads, hidden 256 -> FP32[batch,64,256]."""
    layers, hidden, heads, inner = 4, 256, 4, 1024
    net = Network("bert", seed=3)
    into_heads = net.constant(np.array([0, BERT_SEQUENCE, heads, hidden // heads], np.int64))
    out_of_heads = net.constant(np.array([0, BERT_SEQUENCE, hidden], np.int64))
    score_scale = net.constant(np.array(1 / np.sqrt(hidden // heads), np.float32))
    half, one, root = (net.constant(np.array(value, np.float32)) for value in (0.5, 1.0, 1 / np.sqrt(2.0)))

    def dense(x: str, before: int, after: int) -> str:
        return net.add("Add", net.add("MatMul", x, net.weights(before, after, fan_in=before)), net.zeros(after))

    def normalised(x: str, into: str | None = None) -> str:
        scale = net.constant(np.ones(hidden, np.float32))
        return net.add("LayerNormalization", x, scale, net.zeros(hidden), into=into, axis=-1, epsilon=1e-5)

    def gelu(x: str) -> str:
        # Spelt out with Erf, as exporters of that opset do.
        gate = net.add("Add", net.add("Erf", net.add("Mul", x, root)), one)
        return net.add("Mul", net.add("Mul", x, gate), half)

    def attention(x: str) -> str:
        query, key, value = (
            net.add("Transpose", net.add("Reshape", dense(x, hidden, hidden), into_heads), perm=order)
            for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        scores = net.add("Softmax", net.add("Mul", net.add("MatMul", query, key), score_scale), axis=-1)
        mixed = net.add("Transpose", net.add("MatMul", scores, value), perm=[0, 2, 1, 3])
        return dense(net.add("Reshape", mixed, out_of_heads), hidden, hidden)

    words = net.add("Gather", net.weights(BERT_VOCABULARY, hidden, fan_in=1), "input_ids", axis=0)
    x = normalised(net.add("Add", words, net.weights(1, BERT_SEQUENCE, hidden, fan_in=1)))
    for layer in range(layers):
        x = normalised(net.add("Add", x, attention(x)))
        grown = dense(gelu(dense(x, hidden, inner)), inner, hidden)
        x = normalised(net.add("Add", x, grown), "last_hidden_state" if layer == layers - 1 else None)
    outputs = [("last_hidden_state", TensorProto.FLOAT, [BERT_SEQUENCE, hidden])]
    net.save(path, [("input_ids", TensorProto.INT64, [BERT_SEQUENCE])], outputs)


MODELS: dict[str, Callable[[Path], None]] = {
    make.__name__: make for make in (simple, mlp, resnet18, bert, identity_602k)
}


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(arguments[0])
    target.mkdir(parents=True, exist_ok=True)
    for name, make in MODELS.items():
        make(target / f"{name}.onnx")
        print(f"{target / name}.onnx  {(target / name).with_suffix('.onnx').stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
