"""Writes one net in one format: python -m benchmarks.frameworks.export FORMAT SOURCE.onnx TARGET.

By the same code that writes the example models.
"""

import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Returns the process's exit status."""
    format_name, source, target = arguments[0], Path(arguments[1]), Path(arguments[2])
    # A framework is imported where its format is asked for.
    if format_name == "openvino":
        from examples.networks.in_openvino import save_representation

        save_representation(source, target)
        return 0
    from examples.networks.description import read_network

    network = read_network(source)
    match format_name:
        case "torchscript":
            from examples.networks.in_torch import save_torchscript

            save_torchscript(network, target)
        case "torch_export":
            from examples.networks.in_torch import save_exported

            save_exported(network, target)
        case "aotinductor":
            from examples.networks.in_torch import save_compiled

            save_compiled(network, target)
        case "savedmodel":
            from examples.networks.in_tensorflow import save_saved_model

            save_saved_model(network, target)
        case "jax":
            from examples.networks.in_jax import save_exported as save_jax

            save_jax(network, target, platforms=("cpu",))
        case _:
            raise ValueError(f"no such format: {format_name}. This is a bug in plan.py")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
