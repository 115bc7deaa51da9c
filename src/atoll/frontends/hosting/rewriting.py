"""An exchange in place of another: the same request under another head, its answer changed on the way to the client."""

from collections.abc import Callable

from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import RequestHead
from atoll.tensor import Buffer


class Rewriting:
    """What brings an answer to the exchange that was there first."""

    def __init__(self, outer: Exchange, rewrite: Callable[[Answer], Answer]):
        self._outer = outer
        self._rewrite = rewrite

    def reserve(self, exchange: Exchange, size: int) -> bool:
        return self._outer.reserve(size)

    def send(self, exchange: Exchange, answer: Answer) -> None:
        self._hand_over(exchange)
        self._outer.answer(self._rewrite(answer))

    def begin(self, exchange: Exchange, status: int, headers: bytes) -> None:
        self._hand_over(exchange)
        self._outer.begin(status, headers)
        self._outer.on_drained = exchange.drained

    def write(self, exchange: Exchange, data: Buffer) -> bool:
        return self._outer.write(data)

    def end(self, exchange: Exchange) -> None:
        self._outer.end()

    def break_off(self, exchange: Exchange) -> None:
        self._outer.break_off()

    def _hand_over(self, exchange: Exchange) -> None:
        """What the access log says of the request."""
        if hasattr(exchange, "facts"):
            self._outer.facts = exchange.facts


def rewritten(outer: Exchange, head: RequestHead, rewrite: Callable[[Answer], Answer]) -> Exchange:
    """The exchange for an endpoint that is to see `head`. Whole answers go through `rewrite`."""
    inner = Exchange(head, Rewriting(outer, rewrite))
    inner.began_ns = outer.began_ns
    outer.on_gone = inner.abandon
    return inner
