"""One request and its answer, whatever carries them: our own connection or an ASGI server."""

from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING

from atoll.frontends.http.answer import Answer

if TYPE_CHECKING:
    from atoll.frontends.http.head import RequestHead


class Exchange:
    """What an endpoint sees. One that answers later sets `on_gone`, called once if the client goes away first."""

    __slots__ = ("_take", "began_ns", "gone", "head", "on_gone")

    def __init__(self, head: "RequestHead", take: "Callable[[Exchange, Answer], None]"):
        self.head = head
        self.on_gone: Callable[[], None] | None = None
        self.gone = False
        self.began_ns = monotonic_ns() if head.deadline_ns else 0  # looked at by nobody else
        self._take = take

    def answer(self, answer: Answer) -> None:
        """Send the answer; once, on the loop's thread. Nothing happens where the client has gone."""
        self.on_gone = None
        if not self.gone:
            self._take(self, answer)

    def abandon(self) -> None:
        """The client has gone away."""
        self.gone = True
        if self.on_gone is not None:
            on_gone, self.on_gone = self.on_gone, None
            on_gone()
