"""Calling an endpoint: whatever happens in it becomes an answer."""

import logging

from atoll.errors import AtollError
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Route
from atoll.observability.logging.lines import about

logger = logging.getLogger(__name__)


def call_endpoint(route: Route, exchange: Exchange, body: memoryview) -> Answer | None:
    """The endpoint's answer; None where it comes later."""
    try:
        return route.endpoint(exchange, body)
    except AtollError as error:
        return answers.refusal_of(error, plain=route.plain_errors)
    except Exception:
        ids = about(exchange.head.request_id())
        logger.exception("%s %s failed", route.method, route.path, extra=ids)
        return answers.refusal(500, "internal error while answering the request; the server's log has the details")
