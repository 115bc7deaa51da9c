"""Imports TensorFlow without the lines that it writes to stderr while it is imported."""

import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from atoll.backends.runtime import import_runtime

QUIET = "TF_CPP_MIN_LOG_LEVEL"
_QUIETEST = "3"
_NOISE = (b"All log messages before absl::InitializeLog()", b"oneDNN custom operations are on")
_importing = threading.Lock()


def import_tensorflow() -> Any:
    """The module, quiet from the start unless the operator chose a TF_CPP_MIN_LOG_LEVEL.

    Raises MissingExtraError with the command that installs it.
    """
    loaded = sys.modules.get("tensorflow")
    if loaded is not None and not _importing.locked():
        return loaded
    with _importing:
        # The quietest level may be ours: the JAX backend sets it, too, and processes of instances inherit it.
        if "tensorflow" in sys.modules or os.environ.get(QUIET, _QUIETEST) != _QUIETEST:
            return _imported()
        # What a failing run writes there it also raises, and a client could otherwise fill the log.
        os.environ[QUIET] = _QUIETEST
        # Lets `optimization { graph { level } }` reach models on a CPU; without that level it changes nothing.
        os.environ.setdefault("TF_XLA_FLAGS", "--tf_xla_cpu_global_jit")
        deprecations = logging.getLogger("tensorflow")
        if deprecations.level == logging.NOTSET:
            deprecations.setLevel(logging.ERROR)
        with _without_noise():
            return _imported()


def submodule(name: str) -> Any:
    """A module of TensorFlow's own that the face does not show."""
    import_tensorflow()  # first: two models may load at once, and TensorFlow's modules import each other
    return importlib.import_module(f"tensorflow.{name}")


def dismantle(graph: Any) -> None:
    """Free a tf.Graph at once: it is made of circles, and may hold a model's weights."""
    submodule("python.framework.ops").dismantle_graph(graph)


def _imported() -> Any:
    return import_runtime("tensorflow", backend="tensorflow", library="TensorFlow", extra="tensorflow")


@contextmanager
def _without_noise() -> Iterator[None]:
    """Lets everything that is written to stderr pass, except the lines that no setting of TensorFlow's turns off."""
    try:
        ours = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    # It ends with the last process that has the pipe: one that another thread starts meanwhile keeps it.
    forwarding = threading.Thread(target=_forward, args=(read, ours), name="stderr while importing", daemon=True)
    forwarding.start()
    try:
        yield
    finally:
        os.dup2(ours, 2)
        forwarding.join(timeout=1)


def _forward(read: int, write: int) -> None:
    with os.fdopen(read, "rb") as lines:
        for line in lines:
            if not any(noise in line for noise in _NOISE):
                os.write(write, line)
    os.close(write)
