"""Procedures that answer one message with one: the paths, and what stands around the work in each of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError

from atoll.errors import AtollError, InternalError
from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.transport import PENDING, Call, Pending
from atoll.protocol.schema import message_class

SERVICE: Final = "/inference.GRPCInferenceService/"
HEALTH: Final = "/grpc.health.v1.Health/"

Work = Callable[[Any], Any]
"""From a request's message to its answer: a message, or the fields of one. Raises AtollError."""


def decoded(request_class: Any, message: bytes) -> Any:
    """The request's message. Raises InternalError, as the real server does."""
    try:
        return request_class.FromString(message)
    except DecodeError:
        raise InternalError("Unable to parse request") from None


def procedure(name: str, work: Work) -> Callable[[Call, bytes], bytes]:
    """The procedure of that name in `SERVICE`, whose answer is made at once."""
    answer = _answering(name, work)

    def handle(call: Call, message: bytes) -> bytes:
        try:
            return answer(message)
        except AtollError as error:
            raise grpc_error(error) from None

    return handle


def blocking_procedure(name: str, calls: BlockingCalls, work: Work) -> Callable[[Call, bytes], Pending]:
    """The procedure of that name in `SERVICE`, whose answer another thread makes, which may be blocked."""
    answer = _answering(name, work)

    def handle(call: Call, message: bytes) -> Pending:
        def take(encoded: bytes, error: AtollError | None) -> None:
            if error is None:
                call.reply(encoded)
            else:
                failure = grpc_error(error)
                call.fail(failure.code, failure.message)

        try:
            running = calls.submit(partial(answer, message), take)
        except AtollError as error:
            raise grpc_error(error) from None
        call.on_cancel(running.cancel)
        return PENDING

    return handle


def _answering(name: str, work: Work) -> Callable[[bytes], bytes]:
    request_class, answer_class = (message_class(f"inference.{name}{end}") for end in ("Request", "Response"))

    def answer(message: bytes) -> bytes:
        encoded: bytes = answer_class(**work(decoded(request_class, message))).SerializeToString()
        return encoded

    return answer
