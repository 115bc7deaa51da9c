"""The backend "pytorch"."""

from atoll.backends.pytorch.backend import PyTorchBackend

__all__ = ["PyTorchBackend"]
