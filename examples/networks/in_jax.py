"""A network for JAX: as one function, saved by jax.export for every batch size."""

from pathlib import Path
from typing import Any

import jax
from jax import export, lax
from jax import numpy as jnp

from .description import Network, Step

# The artifact notes where each operation was written down: as the file's name, not as where it lies on this machine.
jax.config.update("jax_hlo_source_file_canonicalization_regex", ".*/")
jax.config.update("jax_include_full_tracebacks_in_locations", False)


def save_exported(network: Network, path: Path, platforms: tuple[str, ...] = ("cpu", "cuda")) -> None:
    """The artifact takes and returns dictionaries, which keep the tensors' names."""

    def compute(given: dict[str, Any]) -> dict[str, Any]:
        values = dict(given)
        for step in network.steps:
            values[step.output] = _apply(step, [values[name] for name in step.inputs])
        return {network.output: values[network.output]}

    path.parent.mkdir(parents=True, exist_ok=True)
    dims = export.symbolic_shape(", ".join(map(str, ("batch", *network.input_dims))))
    given = {network.input: jax.ShapeDtypeStruct(dims, jnp.float32)}
    path.write_bytes(export.export(jax.jit(compute), platforms=platforms)(given).serialize())


def _apply(step: Step, inputs: list[Any]) -> Any:
    first = inputs[0]
    match step.kind:
        case "convolution":
            padding = [(step.padding, step.padding)] * 2
            return lax.conv(first, step.weights, (step.stride,) * 2, padding) + step.bias[:, None, None]
        case "dense":
            return first @ step.weights.T + step.bias
        case "max_pool":
            sides, strides = (1, 1, step.size, step.size), (1, 1, step.stride, step.stride)
            padding = [(0, 0), (0, 0), *[(step.padding, step.padding)] * 2]
            return lax.reduce_window(first, -jnp.inf, lax.max, sides, strides, padding)
        case "divide":
            return first / step.divisor
        case "mean":
            return first.mean(axis=(2, 3))
        case "flatten":
            return first.reshape(first.shape[0], -1)
        case "relu":
            return jax.nn.relu(first)
        case "softmax":
            return jax.nn.softmax(first, axis=1)
        case "add":
            return first + inputs[1]
