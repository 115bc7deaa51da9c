"""What a net computes, step by step and with its weights, in no framework's terms: read from its ONNX file.

Needs the onnx package alone. The files beside this one write the same steps down for their framework, so that the
answers differ by rounding at most.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Kind = Literal["divide", "convolution", "relu", "max_pool", "add", "mean", "flatten", "dense", "softmax"]
Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation; images are [batch, channels, height, width].

    `weights` are [after, before, height, width] of a convolution and [after, before] of a dense layer, `bias` is
    [after]. `size` is the side of a pool's window; `stride` and `padding` hold in both directions. `divisor` is what a
    step of the kind "divide" divides by. "mean" is that of each channel, [batch, channels].
    """

    kind: Kind
    inputs: tuple[str, ...]
    output: str
    weights: Weights | None = None
    bias: Weights | None = None
    size: int = 0
    stride: int = 1
    padding: int = 0
    divisor: float = 1.0


@dataclass(frozen=True, slots=True)
class Network:
    """One FP32 tensor in, one out, each with a batch dimension that is not part of its `dims`."""

    input: str
    input_dims: tuple[int, ...]
    output: str
    steps: tuple[Step, ...]


def read_network(path: Path) -> Network:
    """Raises ValueError naming the node that has no counterpart here."""
    graph = onnx.load(path).graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    steps: list[Step] = []
    # What a mean or a view leaves as it is: the one name for the other.
    same: dict[str, str] = {}
    for node in graph.node:
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            continue
        if node.op_type == "Flatten" and steps and steps[-1].kind == "mean":
            same[node.output[0]] = steps[-1].output
            continue
        if node.op_type not in _READ:
            raise ValueError(
                f"{path}: node {node.name or node.output[0]!r} is a {node.op_type}, which has no step here"
            )
        inputs = tuple(same.get(one, one) for one in node.input if one not in constants)
        given = [constants[one] for one in node.input if one in constants]
        steps.append(_READ[node.op_type](inputs, node.output[0], given, attributes))
    (taken,), (made,) = graph.input, graph.output
    dims = tuple(one.dim_value for one in taken.type.tensor_type.shape.dim[1:])
    return Network(taken.name, dims, made.name, tuple(steps))


_Reader = Callable[[tuple[str, ...], str, list[NDArray[Any]], Mapping[str, Any]], Step]


def _plain(kind: Kind) -> _Reader:
    return lambda inputs, output, given, attributes: Step(kind=kind, inputs=inputs, output=output)


def _convolution(
    inputs: tuple[str, ...], output: str, given: list[NDArray[Any]], attributes: Mapping[str, Any]
) -> Step:
    weights, bias = given
    stride, padding = _one(attributes["strides"]), _one(attributes["pads"])
    return Step(
        kind="convolution", inputs=inputs, output=output, weights=weights, bias=bias, stride=stride, padding=padding
    )


def _max_pool(inputs: tuple[str, ...], output: str, given: list[NDArray[Any]], attributes: Mapping[str, Any]) -> Step:
    size, stride, padding = (_one(attributes[key]) for key in ("kernel_shape", "strides", "pads"))
    return Step(kind="max_pool", inputs=inputs, output=output, size=size, stride=stride, padding=padding)


def _dense(inputs: tuple[str, ...], output: str, given: list[NDArray[Any]], attributes: Mapping[str, Any]) -> Step:
    weights, bias = given
    if not attributes.get("transB", 0):
        weights = np.ascontiguousarray(weights.T)
    return Step(kind="dense", inputs=inputs, output=output, weights=weights, bias=bias)


def _divide(inputs: tuple[str, ...], output: str, given: list[NDArray[Any]], attributes: Mapping[str, Any]) -> Step:
    return Step(kind="divide", inputs=inputs, output=output, divisor=float(given[0]))


def _one(values: list[int]) -> int:
    """The value that is the same for all sides. Raises ValueError if it isn't."""
    (value,) = set(values)
    return value


_READ: dict[str, _Reader] = {
    "Add": _plain("add"),
    "Conv": _convolution,
    "Div": _divide,
    "Flatten": _plain("flatten"),
    "Gemm": _dense,
    "GlobalAveragePool": _plain("mean"),
    "MaxPool": _max_pool,
    "Relu": _plain("relu"),
    "Softmax": _plain("softmax"),
}
