"""Calling an endpoint: whatever happens in it becomes an answer, at once or from another thread."""

import logging
from collections.abc import Callable

from atoll.errors import AtollError
from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Route
from atoll.observability.logging.extras import about

logger = logging.getLogger(__name__)


def call_endpoint(route: Route, exchange: Exchange, body: memoryview) -> Answer | None:
    """The endpoint's answer; None where it comes later."""
    try:
        return route.endpoint(exchange, body)
    except AtollError as error:
        return answers.refusal_of(error, plain=route.plain_errors)
    except Exception:
        logger.exception("%s %s failed", route.method, route.path, extra=about_exchange(exchange))
        return answers.refusal(500, "internal error while answering the request; the server's log has the details")


def about_exchange(exchange: Exchange, request_id: str = "") -> dict[str, str]:
    """For `logging`'s `extra`: what is known of a request by its head. `request_id`: that of its body."""
    head = exchange.head
    places = head.arguments
    return about(request_id or head.request_id(), places.get("model", ""), places.get("version", ""))


def answer_later(exchange: Exchange, calls: BlockingCalls, work: Callable[[], Answer]) -> Answer | None:
    """Let another thread make the answer; None, as it comes later. Raises UnavailableError where too many wait."""

    def take(answer: Answer, error: AtollError | None) -> None:
        exchange.answer(answer if error is None else answers.refusal_of(error))

    exchange.on_gone = calls.submit(work, take).cancel
    return None
