"""Which server the calling code talks to, where nothing else says it: logging, metrics, requests to other models.

In a process of its own a model has one host, set once. Where several models share a process, each has its host while
its code runs, in the context of that call; a thread that a model starts has no such context and gets the process's
host, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from atoll.backends.python.host import ModelHost
from atoll.backends.python.utils.errors import TritonModelException
from atoll.errors import AtollError


@dataclass(frozen=True)
class Current:
    """A model's host, the directory of its version, and the name of its instance, for errors' texts."""

    host: ModelHost
    directory: str = ""
    instance: str = ""


_in_this_context: ContextVar[Current | None] = ContextVar("atoll_python_model", default=None)
_in_this_process: Current | None = None


def set_process_host(host: ModelHost | None, directory: str = "", instance: str = "") -> None:
    """The host of threads that have none of their own; None takes it away."""
    global _in_this_process
    _in_this_process = Current(host, directory, instance) if host is not None else None


@contextmanager
def use_host(host: ModelHost, directory: str = "", instance: str = "") -> Iterator[None]:
    """The code inside belongs to this host, and so do the asyncio tasks that it starts."""
    token = _in_this_context.set(Current(host, directory, instance))
    try:
        yield
    finally:
        _in_this_context.reset(token)


def current() -> Current | None:
    """The host and directory of the calling code, if any."""
    return _in_this_context.get() or _in_this_process


def current_host() -> ModelHost:
    """The calling code's host. Raises TritonModelException where no model runs."""
    found = current()
    if found is None:
        raise TritonModelException(
            "no server is here to ask: this is no thread of a model that is being served. "
            "To run a model without one, see atoll.testing."
        )
    return found.host


@contextmanager
def refusals_of(action: str) -> Iterator[None]:
    """What the server refuses inside is raised as the real module says it, after what was tried."""
    try:
        yield
    except AtollError as error:
        found = current()
        instance = found.instance if found is not None else ""
        process = f"Failed to process the request for model '{instance}', message: " if instance else ""
        raise TritonModelException(f"{action}: {process}{error}") from error


def get_model_dir() -> str:
    """The directory of the model's version, in which its model.py is. Raises TritonModelException outside a model."""
    found = current()
    if found is None:
        raise TritonModelException("no model runs in this thread, so there is no directory of one")
    return found.directory
