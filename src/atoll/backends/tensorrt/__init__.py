"""TensorRT's engine files, run on NVIDIA GPUs. It has not been run on one: docs/tensorrt.md."""

from atoll.backends.tensorrt.backend import TensorRtBackend

__all__ = ["TensorRtBackend"]
