"""GET /openapi.json and GET /docs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import orjson

from atoll.config.metadata import ModelMetadata
from atoll.errors import AtollError
from atoll.frontends.apis import Api
from atoll.frontends.context import FrontendContext
from atoll.frontends.http.answer import JSON, Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Route
from atoll.frontends.http.static_page import FRESH, static_page
from atoll.frontends.openapi.document import openapi

if TYPE_CHECKING:
    from atoll.server import Server

DOCUMENT, PAGE = "/openapi.json", "/docs"
MAX_MODELS: Final = 100
"""Models whose examples are shown; the document is made anew for who asks."""


class DocumentationEndpoints:
    """`described`: the routes beside which these two stand."""

    def __init__(self, server: "Server", context: FrontendContext, described: Sequence[Route]):
        self._server = server
        self._context = context
        self._routes = [*described, *self.routes()]

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", DOCUMENT, self.document, Api.DOCUMENTATION),
            Route("GET", PAGE, self.page, Api.DOCUMENTATION),
        ]

    def document(self, exchange: Exchange, body: memoryview) -> Answer:
        found = openapi(self._routes, self._server.metadata(), self._shown(exchange))
        return Answer(200, [orjson.dumps(found)], FRESH + JSON)

    def page(self, exchange: Exchange, body: memoryview) -> Answer:
        return static_page("atoll.frontends.openapi")

    def _shown(self, exchange: Exchange) -> list[ModelMetadata]:
        """The models that whoever asks may ask for their metadata, too."""
        access, key = self._context.access, exchange.head.key
        shown: dict[str, ModelMetadata] = {}
        if access is not None and key is None:
            return []
        for model in self._server.models():
            if len(shown) == MAX_MODELS:
                break
            try:
                model.name.encode()
                if key is not None:
                    key.check(Api.METADATA, model.name)
                shown[model.name] = self._server.model_metadata(model.name)
            except (AtollError, UnicodeEncodeError):
                continue
        return list(shown.values())
