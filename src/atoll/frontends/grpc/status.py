"""What an error of the server is in gRPC: the one table from its codes to statuses."""

import logging

from atoll.errors import AtollError, Code, InternalError, OverloadedError
from atoll.frontends.grpc.transport import GrpcError, GrpcStatus, Metadata
from atoll.observability.logging.extras import about

logger = logging.getLogger(__name__)

STATUS = {
    Code.UNKNOWN: GrpcStatus.UNKNOWN,
    Code.INTERNAL: GrpcStatus.INTERNAL,
    Code.NOT_FOUND: GrpcStatus.NOT_FOUND,
    Code.INVALID_ARG: GrpcStatus.INVALID_ARGUMENT,
    Code.UNAVAILABLE: GrpcStatus.UNAVAILABLE,
    Code.UNSUPPORTED: GrpcStatus.UNIMPLEMENTED,
    Code.ALREADY_EXISTS: GrpcStatus.ALREADY_EXISTS,
    Code.CANCELLED: GrpcStatus.CANCELLED,
    Code.DEADLINE_EXCEEDED: GrpcStatus.DEADLINE_EXCEEDED,
    Code.UNAUTHENTICATED: GrpcStatus.UNAUTHENTICATED,
    Code.PERMISSION_DENIED: GrpcStatus.PERMISSION_DENIED,
    Code.RESOURCE_EXHAUSTED: GrpcStatus.RESOURCE_EXHAUSTED,
}

_MAX_TEXT = 2048
"""Characters of an error's text that are sent: it travels as a header, which clients limit to 8 KiB, and often repeats
a name that a client chose."""


def text_of(error: BaseException) -> str:
    """The error's text, cut where it is longer than a header should be."""
    text = str(error)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}... ({len(text)} characters)"


def grpc_error(error: AtollError) -> GrpcError:
    """The error to end a call with."""
    return GrpcError(STATUS[error.code], text_of(error), _trailing(error))


def _trailing(error: AtollError) -> Metadata:
    """When to ask again: as HTTP says it, and as clients of gRPC with a retry policy heed it."""
    if not isinstance(error, OverloadedError):
        return ()
    seconds = error.retry_after_s
    return (("retry-after", str(seconds)), ("grpc-retry-pushback-ms", str(seconds * 1000)))


def encoding_failed(bug: Exception, model_name: str, version: str, request_id: str) -> InternalError:
    """The error of a response that cannot be encoded; where that happened stands in the log."""
    ids = about(request_id, model_name, version)
    logger.exception("the response of model '%s' cannot be encoded", model_name, extra=ids)
    return InternalError(f"the response cannot be encoded: {type(bug).__name__}: {bug}")
