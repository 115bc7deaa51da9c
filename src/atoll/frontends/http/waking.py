"""HTTP requests for models that are not in memory: answered when the model has been loaded."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from atoll.errors import AtollError, ModelAsleepError
from atoll.frontends.event_loop.waking import Waking
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.calling import call_endpoint
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Endpoint

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from atoll.server import Server

Attempt = Callable[[Exchange, memoryview, int], Answer | None]
"""An endpoint that is told how often its request has waited already."""


class SleepyModels:
    """For one event loop."""

    def __init__(self, server: "Server", loop: "AbstractEventLoop"):
        self._waking = Waking(server, loop)

    def endpoint(self, endpoint: Endpoint) -> Endpoint:
        """The same, run again when the model of its path has been loaded. Not for inference: that asks itself."""

        def attempt(exchange: Exchange, body: memoryview, number: int = 0) -> Answer | None:
            try:
                return endpoint(exchange, body)
            except ModelAsleepError as asleep:
                return self.retry(asleep, attempt, exchange, body, number)

        return attempt

    def retry(
        self, asleep: ModelAsleepError, attempt: Attempt, exchange: Exchange, body: memoryview, number: int
    ) -> Answer | None:
        """Attempt it once more when the model is there, and then answer; the refusal where it may not wait for that."""
        head = exchange.head
        route = head.route
        assert route is not None, "only a routed request reaches an endpoint. This is a bug"

        def go_on(error: AtollError | None) -> None:
            if exchange.gone:
                return
            if error is not None:
                answer: Answer | None = answers.refusal_of(error, plain=route.plain_errors)
            else:
                again = replace(route, endpoint=lambda exchange, body: attempt(exchange, body, number + 1))
                answer = call_endpoint(again, exchange, body)
            if answer is not None:
                exchange.answer(answer)

        try:
            exchange.on_gone = self._waking.wait(asleep, head.arguments["model"], number, go_on).cancel
        except AtollError as refused:
            return answers.refusal_of(refused, plain=route.plain_errors)
        return None
