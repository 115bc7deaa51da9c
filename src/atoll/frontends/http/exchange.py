"""One request and its answer, whatever carries them: our own connection or an ASGI server."""

from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING, Protocol

from atoll.frontends.http.answer import Answer
from atoll.tensor import Buffer

if TYPE_CHECKING:
    from atoll.frontends.access_log import Facts
    from atoll.frontends.http.head import RequestHead


class Carrier(Protocol):
    """What brings an exchange's answer to the client."""

    def reserve(self, exchange: "Exchange", size: int) -> bool:
        """See `Exchange.reserve`."""

    def send(self, exchange: "Exchange", answer: Answer) -> None:
        """A whole answer."""

    def begin(self, exchange: "Exchange", status: int, headers: bytes) -> None:
        """See `Exchange.begin`."""

    def write(self, exchange: "Exchange", data: Buffer) -> bool:
        """See `Exchange.write`."""

    def end(self, exchange: "Exchange") -> None:
        """See `Exchange.end`."""

    def break_off(self, exchange: "Exchange") -> None:
        """See `Exchange.break_off`."""


class Exchange:
    """What an endpoint sees. One that answers later sets `on_gone`, called once if the client goes away first.

    It is answered once: by `answer`, or piece by piece by `begin`, any number of `write`, and `end` or `break_off`.
    All of them are for the loop's thread, and nothing happens where the client has gone.
    """

    __slots__ = ("_carrier", "began_ns", "facts", "gone", "head", "on_drained", "on_gone")
    facts: "Facts"  # set by endpoints of inference, for the access log, and only where there is one

    def __init__(self, head: "RequestHead", carrier: Carrier):
        self.head = head
        self.on_gone: Callable[[], None] | None = None
        self.on_drained: Callable[[], None] | None
        self.gone = False
        self.began_ns = monotonic_ns() if head.deadline_ns else 0  # looked at by nobody else
        self._carrier = carrier

    def reserve(self, size: int) -> bool:
        """Whether there is room for so many bytes more of this request, from now until its answer."""
        return self.gone or self._carrier.reserve(self, size)

    def answer(self, answer: Answer) -> None:
        """Send the whole answer."""
        self.on_gone = None
        if not self.gone:
            self._carrier.send(self, answer)

    def begin(self, status: int, headers: bytes = b"") -> None:
        """Send the head of an answer whose length is not known; `headers` are finished lines.

        `on_drained` may be set from now on: it is called each time that the client has caught up.
        """
        self.on_drained = None
        if not self.gone:
            self._carrier.begin(self, status, headers)

    def write(self, data: Buffer) -> bool:
        """Send a part of the body, which nobody changes any more.

        False: the client does not keep up. It is taken all the same; who makes more should wait for `on_drained`.
        """
        return self.gone or self._carrier.write(self, data)

    def end(self) -> None:
        """That was the whole answer."""
        self.on_gone = self.on_drained = None
        if not self.gone:
            self._carrier.end(self)

    def break_off(self) -> None:
        """Close the connection in the middle of the answer, so that the client does not take it for a whole one."""
        self.on_gone = self.on_drained = None
        if not self.gone:
            self._carrier.break_off(self)

    def drained(self) -> None:
        """The client has caught up."""
        if self.on_drained is not None:
            self.on_drained()

    def abandon(self) -> None:
        """The client has gone away."""
        self.gone = True
        if self.on_gone is not None:
            on_gone, self.on_gone = self.on_gone, None
            on_gone()
