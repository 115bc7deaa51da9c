"""The errors of a model's code: what it gives a request, and what the module raises at it.

The words are those of the real module wherever a client can see them: a model's exception text is its answer's text.
"""

from __future__ import annotations

from enum import IntEnum

from atoll.backends.python.utils.arguments import as_text, mismatch
from atoll.errors import (
    AlreadyExistsError,
    AtollError,
    CancelledError,
    Code,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)


class ErrorCode(IntEnum):
    """What kind of failure an error is. The numbers are TRITONSERVER_Error_Code's."""

    UNKNOWN = 0
    INTERNAL = 1
    NOT_FOUND = 2
    INVALID_ARG = 3
    UNAVAILABLE = 4
    UNSUPPORTED = 5
    ALREADY_EXISTS = 6
    CANCELLED = 7

    def __repr__(self) -> str:
        return f"<__ErrorCode.{self.name}: {self.value}>"

    def __str__(self) -> str:
        return f"__ErrorCode.{self.name}"


class TritonModelException(Exception):  # noqa: N818 - the real module's name
    """What the module raises when a call cannot be done: a wrong name, a response after the final one, a failed load.

    A model may raise it as well: the exception's text becomes the error of every request of the batch.
    """


class TritonError:
    """The error of one request: a message and a code. It is not an exception: put it into an `InferenceResponse`."""

    UNKNOWN = ErrorCode.UNKNOWN
    INTERNAL = ErrorCode.INTERNAL
    NOT_FOUND = ErrorCode.NOT_FOUND
    INVALID_ARG = ErrorCode.INVALID_ARG
    UNAVAILABLE = ErrorCode.UNAVAILABLE
    UNSUPPORTED = ErrorCode.UNSUPPORTED
    ALREADY_EXISTS = ErrorCode.ALREADY_EXISTS
    CANCELLED = ErrorCode.CANCELLED

    __slots__ = ("_code", "_message")

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INTERNAL):
        text = as_text(message)
        if text is None or not isinstance(code, ErrorCode):
            raise mismatch(
                "c_python_backend_utils.TritonError(message: str, "
                "code: c_python_backend_utils.TritonError.__ErrorCode = <__ErrorCode.INTERNAL: 1>)",
                (message,) if code is ErrorCode.INTERNAL else (message, code),
            )
        self._message = text
        self._code = code

    def message(self) -> str:
        """What happened."""
        return self._message

    def code(self) -> ErrorCode:
        """What kind of failure it is, one of the class's constants."""
        return self._code

    @classmethod
    def of(cls, error: BaseException) -> TritonError:
        """The server's error as a model sees it; any other exception counts as an internal one."""
        code = _CODES[error.code] if isinstance(error, AtollError) else ErrorCode.INTERNAL
        return cls(str(error), code)

    def as_atoll_error(self) -> AtollError:
        """The same as an exception of the server's."""
        return _ERRORS[self._code](self._message)


setattr(TritonError, "__ErrorCode", ErrorCode)

_CODES = {code: ErrorCode.__members__.get(code.name, ErrorCode.INTERNAL) for code in Code}
_CODES[Code.DEADLINE_EXCEEDED] = ErrorCode.UNAVAILABLE  # as models know a request that came too late
_ERRORS: dict[ErrorCode, type[AtollError]] = {
    ErrorCode.UNKNOWN: AtollError,
    ErrorCode.INTERNAL: InternalError,
    ErrorCode.NOT_FOUND: NotFoundError,
    ErrorCode.INVALID_ARG: InvalidArgumentError,
    ErrorCode.UNAVAILABLE: UnavailableError,
    ErrorCode.UNSUPPORTED: UnsupportedError,
    ErrorCode.ALREADY_EXISTS: AlreadyExistsError,
    ErrorCode.CANCELLED: CancelledError,
}
