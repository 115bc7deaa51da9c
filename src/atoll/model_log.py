"""What a model says in the server's log: in its instance's name, at its own file and line."""

import logging

logger = logging.getLogger("atoll.model")

_LEVELS = {"VERBOSE": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}


def log_level(name: str) -> int:
    """The number of one of the Python API's levels; INFO's for any other name."""
    return _LEVELS.get(name, logging.INFO)


def log_as_model(instance: str, level: str, message: str, file: str, line: int) -> None:
    """Write a line, unless its level is off."""
    number = log_level(level)
    if logger.isEnabledFor(number):
        logger.handle(logger.makeRecord(logger.name, number, file, line, "[%s] %s", (instance, message), None))
