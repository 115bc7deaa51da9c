"""The backend "openvino"."""

from atoll.backends.openvino.backend import OpenVinoBackend

__all__ = ["OpenVinoBackend"]
