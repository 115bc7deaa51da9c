"""Models in OpenVINO's own format and others that it reads, run by OpenVINO."""

from atoll.backends.openvino.backend import OpenVinoBackend

__all__ = ["OpenVinoBackend"]
