"""A network for PyTorch: as a graph of torch.fx, and saved in the formats that go into a model repository."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .description import Network, Step


def module(network: Network) -> fx.GraphModule:
    """Its `forward` takes one argument, named as the network's input, and returns {output's name: tensor}."""
    graph = fx.Graph()
    weights = nn.Module()
    values = {network.input: graph.placeholder(network.input)}
    for number, step in enumerate(network.steps):
        arrays = {"weights": step.weights, "bias": step.bias}
        for name, array in arrays.items():
            if array is not None:
                weights.register_buffer(f"{name}_{number}", torch.tensor(array))
        found = [graph.get_attr(f"{name}_{number}") for name, array in arrays.items() if array is not None]
        inputs = [values[name] for name in step.inputs]
        values[step.output] = _node(graph, step, inputs, found)
    graph.output({network.output: values[network.output]})
    return fx.GraphModule(weights, graph).eval()


def _node(graph: fx.Graph, step: Step, inputs: list[fx.Node], weights: list[fx.Node]) -> fx.Node:
    call: Any = graph.call_function
    match step.kind:
        case "convolution":
            return call(functional.conv2d, (*inputs, *weights, step.stride, step.padding))
        case "dense":
            return call(functional.linear, (*inputs, *weights))
        case "max_pool":
            return call(functional.max_pool2d, (*inputs, step.size, step.stride, step.padding))
        case "divide":
            return call(torch.div, (*inputs, step.divisor))
        case "mean":
            return call(torch.mean, (*inputs, [2, 3]))
        case "flatten" | "softmax":
            return call({"flatten": torch.flatten, "softmax": torch.softmax}[step.kind], (*inputs, 1))
        case "relu" | "add":
            return call({"relu": torch.relu, "add": torch.add}[step.kind], tuple(inputs))


def save_torchscript(network: Network, path: Path) -> None:
    """Traced: the archive names its input as `forward` does, and returns a dictionary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(module(network), _example(network), strict=False)
        torch.jit.save(traced, str(path))


def save_exported(network: Network, path: Path) -> None:
    """By torch.export, with a free batch dimension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        torch.export.save(_exported(network), path)


def save_compiled(network: Network, path: Path) -> None:
    """By AOTInductor: machine code for this machine's processor. Needs a C++ compiler, and a minute for a large net."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        # The documented way to a package, in spite of its module's name.
        torch._inductor.aoti_compile_and_package(_exported(network), package_path=str(path))  # noqa: SLF001


def _exported(network: Network) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=1024)
    given = {network.input: _example(network)}  # by keyword, which keeps the name as it is
    return torch.export.export(module(network), (), given, dynamic_shapes={network.input: {0: batch}})


def _example(network: Network) -> torch.Tensor:
    # Two rows: of one alone torch.export would take it that the batch is always 1.
    return torch.zeros(2, *network.input_dims)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TorchScript says at each use that torch.export has taken its place; people's repositories hold both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
