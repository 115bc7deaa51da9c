"""Which server the calling code talks to, where nothing else says it: logging, metrics, requests to other models.

In a process of its own a model has one host, set once. Where several models share a process, each has its host while
its code runs, in the context of that call. A thread that a model starts has no such context: it gets the process's host
or, of those that were offered, the last one, if all belong to one server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock

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
_request: ContextVar[str] = ContextVar("atoll_python_request", default="")
_in_this_process: Current | None = None
_offered: list[tuple[object, Current]] = []
_lock = Lock()


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


def in_request(request_id: str) -> None:
    """What the code in this context says from now on is about this request; "" takes that back."""
    _request.set(request_id)


def request_in_context() -> str:
    """The id of the request that the calling code executes, alone; "" where that is not known."""
    return _request.get()


def offer_host(host: ModelHost, directory: str = "", instance: str = "", *, server: object) -> Callable[[], None]:
    """Offer a model's host to threads that have none; what is returned takes the offer back."""
    offer = (server, Current(host, directory, instance))
    with _lock:
        _offered.append(offer)

    def take_back() -> None:
        with _lock:
            if offer in _offered:
                _offered.remove(offer)

    return take_back


def current() -> Current | None:
    """The host and directory that the calling code belongs to, if it has been said."""
    return _in_this_context.get() or _in_this_process


def current_or_offered() -> Current | None:
    """The same or, where nothing has been said, what was offered; no directory where it could be that of several
    models.
    """
    found = current()
    if found is not None or not _offered:
        return found
    with _lock:
        offered = _offered[:]
    if len({id(server) for server, _ in offered}) != 1:
        return None
    directories = {one.directory for _, one in offered}
    last = offered[-1][1]
    return Current(last.host, directories.pop() if len(directories) == 1 else "", last.instance)


def current_host() -> ModelHost:
    """The calling code's host. Raises TritonModelException where no model runs."""
    found = current_or_offered()
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
        found = current_or_offered()
        instance = found.instance if found is not None else ""
        process = f"Failed to process the request for model '{instance}', message: " if instance else ""
        raise TritonModelException(f"{action}: {process}{error}") from error


def get_model_dir() -> str:
    """The directory of the model's version, in which its model.py is. Raises TritonModelException outside a model."""
    found = current_or_offered()
    if found is None or not found.directory:
        raise TritonModelException(
            "which model's directory is meant cannot be known in this thread: ask in one of the model's own methods"
        )
    return found.directory
