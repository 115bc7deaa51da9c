"""Every error that Atoll raises on purpose: one tree, one transport-neutral code each.

A frontend owns the one table from `Code` to its own language (HTTP status, gRPC status); nothing here knows of either.
Child processes import this module too: the standard library only, on Python 3.10 and later.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar


class Code(Enum):
    """What kind of failure it is, in the terms of Triton's TRITONSERVER_Error_Code and some of our own."""

    UNKNOWN = "Unknown"
    INTERNAL = "Internal"
    NOT_FOUND = "Not found"
    INVALID_ARG = "Invalid argument"
    UNAVAILABLE = "Unavailable"
    UNSUPPORTED = "Unsupported"
    ALREADY_EXISTS = "Already exists"
    CANCELLED = "Cancelled"
    # not Triton's:
    DEADLINE_EXCEEDED = "Deadline exceeded"
    UNAUTHENTICATED = "Unauthenticated"
    PERMISSION_DENIED = "Permission denied"
    RESOURCE_EXHAUSTED = "Resource exhausted"


class AtollError(Exception):
    """The root: `code` says what kind, `str()` says what happened and what to do."""

    code: ClassVar[Code] = Code.UNKNOWN


class InternalError(AtollError):
    """Something failed inside the server or the model, not because of the request."""

    code = Code.INTERNAL


class NotFoundError(AtollError):
    """The named model, version, file or endpoint does not exist."""

    code = Code.NOT_FOUND


class InvalidArgumentError(AtollError):
    """The request is wrong: sending it again unchanged gives the same answer."""

    code = Code.INVALID_ARG


class UnavailableError(AtollError):
    """Not now: the model is not ready, the server is stopping, or a queue is full."""

    code = Code.UNAVAILABLE


class UnsupportedError(AtollError):
    """Understood, but this server or this model does not do it."""

    code = Code.UNSUPPORTED


class AlreadyExistsError(AtollError):
    """The name is taken."""

    code = Code.ALREADY_EXISTS


class CancelledError(AtollError):
    """The client withdrew the request before it was answered."""

    code = Code.CANCELLED


class OverloadedError(UnavailableError):
    """There are too many requests already: this one may be sent again after `retry_after_s` seconds."""

    def __init__(self, text: str, retry_after_s: int = 1):
        super().__init__(text)
        self.retry_after_s = retry_after_s


class RateLimitedError(OverloadedError):
    """This client has sent as many requests as it may: this one may be sent again after `retry_after_s` seconds."""

    code = Code.RESOURCE_EXHAUSTED


class UnauthenticatedError(AtollError):
    """Nobody says who asks: the key is missing, unknown or has expired."""

    code = Code.UNAUTHENTICATED


class PermissionDeniedError(AtollError):
    """Who asks may not do this."""

    code = Code.PERMISSION_DENIED


class DeadlineExceededError(AtollError):
    """The request was not answered by the moment that it, or its model, had set."""

    code = Code.DEADLINE_EXCEEDED


class ModelAsleepError(UnavailableError):
    """The model is in a repository but not in memory; `Server.wake` loads it, and then the call can be made again."""


class ConfigError(InvalidArgumentError):
    """A model's configuration or files are wrong; the text names the file, the line or key, and the cause.

    `problems` are the single findings, where there are such (records of config/problems.py).
    """

    def __init__(self, text: str, problems: Sequence[Any] = ()):
        super().__init__(text)
        self.problems = tuple(problems)


class MissingExtraError(UnavailableError):
    """A backend needs a package that is not installed; the text says which extra brings it."""


OVERLOADED = "OVERLOADED"  # in the place of its code's name, where an OverloadedError is to stay one

BY_CODE: Mapping[str, type[AtollError]] = {
    one.code.name: one
    for one in (
        AtollError,
        InternalError,
        NotFoundError,
        InvalidArgumentError,
        UnavailableError,
        UnsupportedError,
        AlreadyExistsError,
        CancelledError,
        DeadlineExceededError,
        UnauthenticatedError,
        PermissionDeniedError,
    )
} | {OVERLOADED: OverloadedError}
