"""Models in ONNX files, run by ONNX Runtime on the CPU."""

from atoll.backends.onnxruntime.backend import OnnxRuntimeBackend

__all__ = ["OnnxRuntimeBackend"]
