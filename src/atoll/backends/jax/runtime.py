"""JAX itself: imported when a model first needs it, and the few parts of it that are used."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from atoll.backends.runtime import import_runtime


@dataclass(frozen=True, slots=True)
class Jax:
    """The modules, and `wide`, which makes a context in which a thread's 64-bit numbers stay such."""

    module: Any
    export: Any
    tree: Any
    wide: Callable[[], AbstractContextManager[Any]]
    version: str

    def numbers(self, wide: bool) -> Callable[[], AbstractContextManager[Any]]:
        """The context for a model with 64-bit numbers, or for one without."""
        return self.wide if wide else nullcontext


@cache
def import_jax() -> Jax:
    """Raises MissingExtraError where it is not installed."""
    # Whoever sets them, or imports JAX before us, decides. Taking most of a GPU's memory at the first use would leave
    # none for models of other frameworks.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    module = import_runtime("jax", backend="jax", library="JAX", extra="jax")
    export = import_module("jax.export")
    wide = getattr(module, "enable_x64", None)
    if not callable(wide):  # before JAX 0.8 it is elsewhere
        wide = import_module("jax.experimental").enable_x64
    return Jax(module, export, module.tree_util, lambda: wide(True), module.__version__)
