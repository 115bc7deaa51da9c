"""SavedModels and frozen graphs, run by TensorFlow's sessions."""

from atoll.backends.tensorflow.backend import TensorFlowBackend

__all__ = ["TensorFlowBackend"]
