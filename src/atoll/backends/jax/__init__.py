"""The backend "jax"."""

from atoll.backends.jax.backend import JaxBackend

__all__ = ["JaxBackend"]
