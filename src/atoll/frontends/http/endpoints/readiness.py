"""Whether a model is ready. A model whose own code says so is asked on another thread: it may take its time."""

from functools import partial
from typing import TYPE_CHECKING

from atoll.errors import AtollError
from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.calling import answer_later
from atoll.frontends.http.exchange import Exchange

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from atoll.server import Server


class ReadinessEndpoint:
    """GET .../models/M/ready. Belongs to one event loop."""

    def __init__(self, server: "Server", loop: "AbstractEventLoop"):
        self._server = server
        self._calls = BlockingCalls(loop, "model readiness")

    def __call__(self, exchange: Exchange, body: memoryview) -> Answer | None:
        places = exchange.head.arguments
        name, version = places.get("model", ""), places.get("version", "")
        if self._server.asks_model_when_ready(name, version):
            return answer_later(exchange, self._calls, partial(self._answer, name, version))
        return self._answer(name, version)

    def _answer(self, name: str, version: str) -> Answer:
        try:
            ready = self._server.model_ready(name, version)
        except AtollError:  # the real server makes no difference between unknown and not ready
            ready = False
        return answers.empty() if ready else answers.refusal(400, "Model version not ready")

    def close(self) -> None:
        """The server is stopping: no model is asked any more."""
        self._calls.close()
