"""A call that stands before another one, and is that in all but what a subclass changes."""

from collections.abc import Callable

from atoll.frontends.grpc.transport import Call, Compression, GrpcStatus, Message, Metadata


class ForwardingCall:
    """A Call."""

    def __init__(self, call: Call):
        self._call = call

    def reply(self, message: Message) -> None:
        self._call.reply(message)

    def fail(self, code: GrpcStatus, text: str = "") -> None:
        self._call.fail(code, text)

    @property
    def compression(self) -> Compression:
        return self._call.compression

    @compression.setter
    def compression(self, level: Compression) -> None:
        self._call.compression = level

    @property
    def method(self) -> str:
        return self._call.method

    @property
    def metadata(self) -> Metadata:
        return self._call.metadata

    @property
    def peer(self) -> str:
        return self._call.peer

    @property
    def deadline_ns(self) -> int | None:
        return self._call.deadline_ns

    @property
    def cancelled(self) -> bool:
        return self._call.cancelled

    def on_cancel(self, callback: Callable[[], object]) -> None:
        self._call.on_cancel(callback)

    def set_initial_metadata(self, items: Metadata) -> None:
        self._call.set_initial_metadata(items)

    def set_trailing_metadata(self, items: Metadata) -> None:
        self._call.set_trailing_metadata(items)
