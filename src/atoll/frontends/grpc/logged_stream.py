"""A stream of which each request stands in the access log, besides the call itself."""

from dataclasses import dataclass
from time import monotonic_ns
from typing import cast

from atoll.frontends.access_log import Facts, short
from atoll.frontends.grpc.logged import LoggedStreamCall
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.stream import Entry, Stream, StreamInfer
from atoll.frontends.grpc.transport import GrpcStatus, Message, StreamCall, size_of
from atoll.protocol.grpc_message import InferMessage
from atoll.request import InferenceRequest


@dataclass(slots=True)
class _Account:
    """Of one request."""

    began_ns: int
    bytes_out: int = 0
    responses: int = 0


class LoggedStream(Stream):
    """To be made where the call is a LoggedStreamCall."""

    def __init__(self, service: StreamInfer, call: StreamCall):
        super().__init__(service, call)
        self._logged = cast(LoggedStreamCall, call)
        self._accounts: dict[Entry, _Account] = {}  # of requests that have not been answered

    def _submit(self, entry: Entry, parsed: InferMessage, message: bytes, attempt: int = 0) -> None:
        if not attempt:
            self._accounts[entry] = _Account(monotonic_ns())
        super()._submit(entry, parsed, message, attempt)

    def put(self, entry: Entry, message: Message) -> None:
        account = self._accounts.get(entry)
        if account is not None:
            account.bytes_out += size_of(message)
            account.responses += 1
        super().put(entry, message)

    def end(self, entry: Entry) -> None:
        error = entry.error
        self._note(entry, GrpcStatus.OK if error is None else grpc_error(error).code)
        super().end(entry)

    def withdraw(self) -> None:
        for entry in list(self._accounts):
            self._note(entry, GrpcStatus.CANCELLED)
        super().withdraw()

    def _note(self, entry: Entry, status: GrpcStatus) -> None:
        account = self._accounts.pop(entry, None)
        if account is None:
            return
        request = entry.request
        timeline = request.timeline if isinstance(request, InferenceRequest) else None
        facts = Facts(short(entry.id), short(entry.model_name), entry.version, timeline)
        self._logged.request_ended(account.began_ns, entry.size, account.bytes_out, account.responses, facts, status)
