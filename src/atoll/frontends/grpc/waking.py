"""Unary calls for models that are not in memory: made again, and answered, when the model has been loaded."""

from collections.abc import Callable

from atoll.errors import AtollError, ModelAsleepError
from atoll.frontends.event_loop.waking import Waking
from atoll.frontends.grpc.failures import status_of
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.transport import PENDING, Call, Message, Pending


def call_again(
    waking: Waking,
    asleep: ModelAsleepError,
    name: str,
    attempt: int,
    call: Call,
    again: Callable[[], Message | Pending],
) -> Pending:
    """Runs `again` when the model is there, and answers the call with what that returns or raises.

    Raises GrpcError where the call may not wait.
    """

    def go_on(error: AtollError | None) -> None:
        if call.cancelled:
            return
        try:
            if error is not None:
                raise grpc_error(error)
            answer = again()
        except Exception as failure:
            call.fail(*status_of(failure, call.method))
            return
        if not isinstance(answer, Pending):
            call.reply(answer)

    try:
        waiter = waking.wait(asleep, name, attempt, go_on)
    except AtollError as refused:
        raise grpc_error(refused) from None
    call.on_cancel(waiter.cancel)
    return PENDING
