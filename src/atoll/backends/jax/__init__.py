"""Functions saved by jax.export, compiled by XLA for the shapes that are asked for."""

from atoll.backends.jax.backend import JaxBackend

__all__ = ["JaxBackend"]
