"""Which status an exception of a handler becomes: one table for both transports."""

import asyncio
import logging

from atoll.frontends.grpc.transport import GrpcError, GrpcStatus

logger = logging.getLogger(__name__)


def status_of(error: BaseException, method: str) -> tuple[GrpcStatus, str]:
    """The status and its text. What is neither GrpcError nor a cancellation is a bug of the handler, and logged so."""
    if isinstance(error, GrpcError):
        return error.code, error.message
    if isinstance(error, asyncio.CancelledError):
        return GrpcStatus.CANCELLED, "the call was cancelled by the server"
    logger.error("the handler of %s raised", method, exc_info=error)
    return GrpcStatus.UNKNOWN, f"Unexpected {type(error).__name__}: {error}"
