"""Triton's `execution_accelerators` of TensorFlow models, as rewrites of a session's graph."""

import logging
from collections.abc import Mapping
from typing import Any

from atoll.backends.api import ModelSource
from atoll.config.placement import ModelOptimizationPolicy
from atoll.errors import ConfigError

Accelerator = ModelOptimizationPolicy.ExecutionAccelerators.Accelerator

logger = logging.getLogger(__name__)
_PRECISIONS = ("FP32", "FP16", "INT8")
_TENSORRT_NUMBERS = ("max_cached_engines", "minimum_segment_size", "max_workspace_size_bytes")
_NAMES = ("auto_mixed_precision", "gpu_io", "tensorrt")


def read_accelerators(source: ModelSource) -> tuple[Accelerator, ...]:
    """Those for GPUs. Raises ConfigError for ones that Triton's backend does not have, with the key that is wrong."""
    policy = source.config.optimization
    if policy is None or policy.execution_accelerators is None:
        return ()
    chosen = policy.execution_accelerators
    if chosen.cpu_execution_accelerator:
        raise ConfigError(
            f"model '{source.name}': CPU Execution Accelerator is not supported in TensorFlow backend, found "
            f"'{chosen.cpu_execution_accelerator[0].name}'; remove it from optimization.execution_accelerators in "
            "config.pbtxt (parameter jit_compile has XLA compile the model for a CPU)"
        )
    for one in chosen.gpu_execution_accelerator:
        if one.name not in _NAMES:
            raise ConfigError(
                f"model '{source.name}': unknown Execution Accelerator '{one.name}' is requested; TensorFlow models "
                f"have {', '.join(_NAMES)}"
            )
        if one.name == "tensorrt":
            _check_tensorrt(source.name, one.parameters)
    return chosen.gpu_execution_accelerator


def apply_accelerators(accelerators: tuple[Accelerator, ...], config: Any, *, model: str, kind: str) -> None:
    """Turn them on in a session's ConfigProto, for an instance of that kind.

    As in Triton, instances on a CPU go without. Raises ConfigError where TensorFlow cannot do it.
    """
    for one in accelerators:
        if kind == "KIND_CPU":
            logger.warning(
                "model '%s': gpu_execution_accelerator '%s' has no effect on an instance on the CPU", model, one.name
            )
        elif one.name == "auto_mixed_precision":
            config.graph_options.rewrite_options.auto_mixed_precision = 1  # RewriterConfig.ON
        elif one.name == "gpu_io":
            logger.warning(
                "model '%s': gpu_execution_accelerator 'gpu_io' has no effect: requests come from the host's memory",
                model,
            )
        else:
            raise ConfigError(
                f"model '{model}': gpu_execution_accelerator 'tensorrt' needs TensorFlow with TensorRT, which "
                "TensorFlow has not had since version 2.18; remove it, or convert the model to ONNX or to a TensorRT "
                "engine, for the onnxruntime or the tensorrt backend"
            )


def _check_tensorrt(model: str, parameters: Mapping[str, str]) -> None:
    for key, value in parameters.items():
        if key == "precision_mode":
            if value not in _PRECISIONS:
                raise ConfigError(
                    f"model '{model}': unsupported precision mode '{value}' is requested; it must be one of "
                    f"{', '.join(_PRECISIONS)}"
                )
        elif key not in _TENSORRT_NUMBERS:
            raise ConfigError(
                f"model '{model}': unknown parameter '{key}' is provided for TensorRT Execution Accelerator; it has "
                f"precision_mode, {', '.join(_TENSORRT_NUMBERS)}"
            )
        elif not (value.isascii() and value.isdigit() and len(value) < 19):
            raise ConfigError(
                f"model '{model}': parameter '{key}' of the TensorRT Execution Accelerator is '{value}' but must be a "
                "whole number"
            )
