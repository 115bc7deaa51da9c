"""The endpoints that only ask: health, metadata, configuration, statistics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from atoll.config.json_form import to_json
from atoll.frontends.apis import Api
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Endpoint, Route
from atoll.frontends.http.waking import SleepyModels
from atoll.protocol import documents

if TYPE_CHECKING:
    from atoll.server import Server

MODEL = "/v2/models/{model}"
MODEL_VERSION = MODEL + "/versions/{version}"


class Inquiries:
    """One method an endpoint."""

    def __init__(self, server: "Server"):
        self._server = server

    def server_metadata(self, exchange: Exchange, body: memoryview) -> Answer:
        return answers.document(documents.server_metadata(self._server.metadata()))

    def live(self, exchange: Exchange, body: memoryview) -> Answer:
        return answers.empty(200 if self._server.live() else 400)

    def ready(self, exchange: Exchange, body: memoryview) -> Answer:
        return answers.empty(200 if self._server.ready() else 400)

    def model_metadata(self, exchange: Exchange, body: memoryview) -> Answer:
        return answers.document(documents.model_metadata(self._server.model_metadata(*_model_of(exchange))))

    def config(self, exchange: Exchange, body: memoryview) -> Answer:
        return answers.document(to_json(self._server.model(*_model_of(exchange)).config))

    def statistics(self, exchange: Exchange, body: memoryview) -> Answer:
        name, version = _model_of(exchange)
        found = self._server.statistics(name, version)
        key = exchange.head.key
        if key is not None:
            found = [one for one in found if key.may_use(one.name)]
        return answers.document(documents.statistics(found, self._server.recent_model_memory(name)))


def _model_of(exchange: Exchange) -> tuple[str, str]:
    places = exchange.head.arguments
    return places.get("model", ""), places.get("version", "")


def routes(server: "Server", infer: Endpoint, ready: Endpoint, sleepy: SleepyModels) -> Sequence[Route]:
    """Their table, and those of inference and readiness."""
    ask = Inquiries(server)
    table = [
        Route("GET", "/v2", ask.server_metadata, Api.METADATA),
        Route("GET", "/v2/health/live", ask.live, Api.HEALTH, plain_errors=True),
        Route("GET", "/v2/health/ready", ask.ready, Api.HEALTH, plain_errors=True),
        Route("GET", "/v2/models/stats", ask.statistics, Api.STATISTICS),
    ]
    for model in (MODEL, MODEL_VERSION):
        table += [
            Route("GET", model, sleepy.endpoint(ask.model_metadata), Api.METADATA),
            Route("GET", model + "/ready", ready, Api.HEALTH, plain_errors=True),
            Route("GET", model + "/config", sleepy.endpoint(ask.config), Api.MODEL_CONFIG),
            Route("GET", model + "/stats", sleepy.endpoint(ask.statistics), Api.STATISTICS),
            Route("POST", model + "/infer", infer, Api.INFERENCE, plain_errors=True),
        ]
    return table
