"""The backend "tabular"."""

from atoll.backends.tabular.backend import TabularBackend

__all__ = ["TabularBackend"]
