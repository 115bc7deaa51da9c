"""A network for TensorFlow: as one tf.function, saved as a SavedModel and as a frozen graph. Keras is not needed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from .description import Network, Step

tf.get_logger().setLevel("ERROR")  # which of its functions are old is no news here


class Module(tf.Module):
    """`serve` takes a tensor named as the network's input, and returns {output's name: tensor}.

    TensorFlow's convolutions run on CPUs with the channels last, so images are turned round on the way in.
    """

    def __init__(self, network: Network):
        super().__init__()
        self._network = network
        self._weights = [self._variables(step) for step in network.steps]
        spec = tf.TensorSpec([None, *network.input_dims], tf.float32, name=network.input)
        self.serve = tf.function(self._compute, input_signature=[spec], autograph=False)

    @staticmethod
    def _variables(step: Step) -> list[Any]:
        if step.weights is None:
            return []
        order = (2, 3, 1, 0) if step.kind == "convolution" else (1, 0)
        return [tf.Variable(step.weights.transpose(order)), tf.Variable(step.bias)]

    def _compute(self, given: Any) -> dict[str, Any]:
        images = len(self._network.input_dims) == 3
        values = {self._network.input: tf.transpose(given, (0, 2, 3, 1)) if images else given}
        for step, weights in zip(self._network.steps, self._weights, strict=True):
            values[step.output] = _apply(step, [values[name] for name in step.inputs], weights)
        return {self._network.output: tf.identity(values[self._network.output], name=self._network.output)}


def _apply(step: Step, inputs: list[Any], weights: list[Any]) -> Any:
    padding = [[0, 0], [step.padding] * 2, [step.padding] * 2, [0, 0]]
    match step.kind:
        case "convolution":
            kernel, bias = weights
            return tf.nn.bias_add(tf.nn.conv2d(*inputs, kernel, step.stride, padding), bias)
        case "dense":
            matrix, bias = weights
            return tf.nn.bias_add(tf.matmul(*inputs, matrix), bias)
        case "max_pool":
            padded = tf.pad(*inputs, padding, constant_values=float("-inf")) if step.padding else inputs[0]
            return tf.nn.max_pool2d(padded, step.size, step.stride, "VALID")
        case "divide":
            return inputs[0] / step.divisor
        case "mean":
            return tf.reduce_mean(*inputs, axis=(1, 2))
        case "flatten":
            rows = tf.transpose(*inputs, (0, 3, 1, 2))
            return tf.reshape(rows, (-1, rows.shape[1] * rows.shape[2] * rows.shape[3]))
        case "relu" | "softmax" | "add":
            plain: dict[str, Callable[..., Any]] = {"relu": tf.nn.relu, "softmax": tf.nn.softmax, "add": tf.add}
            return plain[step.kind](*inputs)


def save_saved_model(network: Network, folder: Path) -> None:
    """With one signature, "serving_default"."""
    shutil.rmtree(folder, ignore_errors=True)
    module = Module(network)
    tf.saved_model.save(module, str(folder), signatures=module.serve.get_concrete_function())
    (folder / "fingerprint.pb").unlink(missing_ok=True)  # differs from run to run, and nothing needs it


def save_graph_def(network: Network, path: Path) -> None:
    """Frozen: its weights are constants, its input and its output are nodes of these names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frozen = convert_variables_to_constants_v2(Module(network).serve.get_concrete_function())
    # Without the node that a function's result goes through, which would be the output, with a name of its own.
    graph = tf.compat.v1.graph_util.extract_sub_graph(frozen.graph.as_graph_def(), [network.output])
    path.write_bytes(graph.SerializeToString(deterministic=True))
