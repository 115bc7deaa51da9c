"""What a model says in the server's log: in its instance's name, at its own file and line; and who wants details."""

import logging
import threading
import weakref
from dataclasses import dataclass
from typing import Protocol

logger = logging.getLogger("atoll.model")

_LEVELS = {"VERBOSE": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}


def log_level(name: str) -> int:
    """The number of one of the Python API's levels; INFO's for any other name."""
    return _LEVELS.get(name, logging.INFO)


@dataclass(frozen=True, slots=True)
class Speaker:
    """In whose name lines are written: of an instance, of this version of a model."""

    instance: str
    model: str
    version: str


def log_as_model(speaker: Speaker, level: str, message: str, file: str, line: int, request_id: str = "") -> None:
    """Write a line, unless its level is off. `request_id`: of the request that the model executes, if it is one alone
    and has an id.
    """
    number = log_level(level)
    if logger.isEnabledFor(number):
        about = {"instance": speaker.instance, "model": speaker.model, "version": speaker.version}
        if request_id:
            about["request_id"] = request_id
        arguments = (speaker.instance, message)
        logger.handle(logger.makeRecord(logger.name, number, file, line, "[%s] %s", arguments, None, extra=about))


class Listener(Protocol):
    """Runs models elsewhere, where nobody can look whether details are wanted."""

    def set_log_verbose(self, verbose: bool) -> None:
        """From any thread; must neither block nor raise."""


_listeners: "weakref.WeakSet[Listener]" = weakref.WeakSet()
_lock = threading.Lock()


def is_verbose() -> bool:
    """Whether lines of the level VERBOSE are wanted."""
    return logger.isEnabledFor(logging.DEBUG)


def hear_verbosity(listener: Listener) -> None:
    """Tell this one, for as long as it lives, each time that details are switched on or off."""
    with _lock:
        _listeners.add(listener)


def tell_verbosity(verbose: bool) -> None:
    """Details have been switched on or off."""
    with _lock:
        listeners = list(_listeners)
    for one in listeners:
        one.set_log_verbose(verbose)
