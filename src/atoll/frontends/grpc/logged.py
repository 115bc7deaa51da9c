"""Calls that stand in the access log. Where there is none, the servicer's tables are served as they are."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from time import monotonic_ns
from typing import Any

from google.protobuf.message import DecodeError

from atoll.frontends.access_log import Access, AccessLog, Facts, logged_headers, short
from atoll.frontends.grpc.apis import model_fields
from atoll.frontends.grpc.forwarding_call import ForwardingCall
from atoll.frontends.grpc.procedures.procedure import SERVICE
from atoll.frontends.grpc.transport import (
    PENDING,
    Call,
    GrpcError,
    GrpcStatus,
    Message,
    Pending,
    StreamCall,
    StreamHandler,
    UnaryHandler,
    size_of,
)

_READ_SIZE = 64 << 10  # bytes of a message up to which it is worth to look for a model's name


def logged_unary(handlers: Mapping[str, UnaryHandler], log: AccessLog) -> dict[str, UnaryHandler]:
    """The same procedures; each call is noted when it is answered."""
    return {path: _unary(handler, log, _model_reader(path)) for path, handler in handlers.items()}


def logged_streams(handlers: Mapping[str, StreamHandler], log: AccessLog) -> dict[str, StreamHandler]:
    """The same procedures; each call is noted when it ends."""
    return {path: _stream(handler, log) for path, handler in handlers.items()}


def _unary(handler: UnaryHandler, log: AccessLog, facts_in: Callable[[bytes], Facts | None] | None) -> UnaryHandler:
    def handle(call: Call, message: bytes) -> Message | Awaitable[Message] | Pending:
        logged = LoggedCall(call, log, len(message))
        if facts_in is not None:
            logged.facts = facts_in(message)
        try:
            answer = handler(logged, message)
        except GrpcError as failure:
            logged.ended(failure.code)
            raise
        except BaseException:
            logged.ended(GrpcStatus.UNKNOWN)
            raise
        if answer is PENDING:
            call.on_cancel(logged.cancelled_while_pending)
            return PENDING
        if isinstance(answer, Awaitable):
            return _awaited(logged, answer)
        logged.bytes_out = size_of(answer)
        logged.ended(GrpcStatus.OK)
        return answer

    return handle


async def _awaited(logged: "LoggedCall", answer: Awaitable[Message]) -> Message:
    try:
        message = await answer
    except GrpcError as failure:
        logged.ended(failure.code)
        raise
    except BaseException as error:
        logged.ended(GrpcStatus.CANCELLED if type(error).__name__ == "CancelledError" else GrpcStatus.UNKNOWN)
        raise
    logged.bytes_out = size_of(message)
    logged.ended(GrpcStatus.OK)
    return message


def _model_reader(path: str) -> Callable[[bytes], Facts | None] | None:
    """What finds the model that a message is about; None for procedures that are about none, or find it themselves."""
    fields = model_fields(path)
    if fields is None or path == SERVICE + "ModelInfer":
        return None

    def read(message: bytes) -> Facts | None:
        if len(message) > _READ_SIZE:  # the files of a model are in it
            return None
        try:
            request = fields.message.FromString(message)
        except DecodeError:
            return None
        model = getattr(request, fields.name)
        return Facts("", short(model), short(getattr(request, fields.version, "")), None) if model else None

    return read


def _stream(handler: StreamHandler, log: AccessLog) -> StreamHandler:
    async def handle(call: StreamCall) -> None:
        logged = LoggedStreamCall(call, log)
        status = GrpcStatus.UNKNOWN
        try:
            await handler(logged)
            status = GrpcStatus.OK
        except GrpcError as failure:
            status = failure.code
            raise
        except BaseException as error:
            if type(error).__name__ == "CancelledError":
                status = GrpcStatus.CANCELLED
            raise
        finally:
            logged.ended(status)

    return handle


class LoggedCall(ForwardingCall):
    """A call, and what is noted of it. `facts`: set by procedures of inference. `key`: the name of its API key."""

    def __init__(self, call: Call, log: AccessLog, bytes_in: int):
        super().__init__(call)
        self._log = log
        self._noted = False
        self.began_ns = monotonic_ns()
        self.facts: Facts | None = None
        self.key = ""
        self.bytes_in = bytes_in
        self.bytes_out = 0

    # ---- the log

    def ended(self, status: GrpcStatus, extra: Mapping[str, Any] | None = None) -> None:
        """Have a line written; once."""
        if self._noted:
            return
        self._noted = True
        call = self._call
        path = short(call.method)
        self._log.note(
            Access(
                "grpc",
                call.peer.removeprefix("ipv4:").removeprefix("ipv6:"),
                path.rpartition("/")[2],
                path,
                status.name,
                self.began_ns,
                monotonic_ns(),
                self.bytes_in,
                self.bytes_out,
                logged_headers(call.metadata),
                self.key,
                self.facts,
                extra,
            )
        )

    def cancelled_while_pending(self) -> None:
        """The client has gone before it was answered."""
        self.ended(GrpcStatus.CANCELLED)

    # ---- the call

    def reply(self, message: Message) -> None:
        self.bytes_out = size_of(message)
        self.ended(GrpcStatus.OK)
        super().reply(message)

    def fail(self, code: GrpcStatus, text: str = "") -> None:
        self.ended(code)
        super().fail(code, text)


class LoggedStreamCall(LoggedCall):
    """A stream: besides its own line each of its requests has one."""

    def __init__(self, call: StreamCall, log: AccessLog):
        super().__init__(call, log, 0)
        self._stream = call
        self._messages = 0

    def ended(self, status: GrpcStatus, extra: Mapping[str, Any] | None = None) -> None:
        """See `LoggedCall.ended`."""
        super().ended(status, {"requests": self._messages, **(extra or {})})

    def request_ended(
        self, began_ns: int, bytes_in: int, bytes_out: int, responses: int, facts: Facts, status: GrpcStatus
    ) -> None:
        """Have a line written for one of the stream's requests."""
        one = LoggedCall(self._call, self._log, bytes_in)
        one.began_ns, one.bytes_out, one.facts, one.key = began_ns, bytes_out, facts, self.key
        one.ended(status, {"in_stream": True, "responses": responses})

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        message = await self._stream.__anext__()
        self._messages += 1
        self.bytes_in += len(message)
        return message

    @property
    def buffered_bytes(self) -> int:
        return self._stream.buffered_bytes

    def write(self, message: Message) -> None:
        self.bytes_out += size_of(message)
        self._stream.write(message)

    async def send(self, message: Message) -> None:
        self.bytes_out += size_of(message)
        await self._stream.send(message)
