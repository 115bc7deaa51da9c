"""The backend "tensorrt"."""

from atoll.backends.tensorrt.backend import TensorRtBackend

__all__ = ["TensorRtBackend"]
