"""The endpoint that shows and changes what the log takes while the server runs."""

from collections.abc import Sequence

from atoll.frontends.apis import Api
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Route
from atoll.observability.logging.server_log import changeable_log
from atoll.protocol import log_settings as protocol

PATH = "/v2/logging"


def routes() -> Sequence[Route]:
    """Its table."""
    return [
        Route("GET", PATH, _show, Api.LOGGING, control=True),
        Route("POST", PATH, _change, Api.LOGGING, control=True),
    ]


def _show(exchange: Exchange, body: memoryview) -> Answer:
    return answers.document(protocol.document(changeable_log().settings))


def _change(exchange: Exchange, body: memoryview) -> Answer:
    return answers.document(protocol.document(changeable_log().change(**protocol.changes_from_json(body))))
