"""The backend "tensorflow"."""

from atoll.backends.tensorflow.backend import TensorFlowBackend

__all__ = ["TensorFlowBackend"]
