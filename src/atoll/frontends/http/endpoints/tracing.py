"""The endpoints of the trace settings, of all models and of one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from atoll.frontends.apis import Api
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Route
from atoll.protocol.trace_settings import wanted_from_json

if TYPE_CHECKING:
    from atoll.server import Server

_PATHS = ("/v2/trace/setting", "/v2/models/{model}/trace/setting")


class TraceEndpoints:
    """Nothing here takes long."""

    def __init__(self, server: "Server"):
        self._server = server

    def routes(self) -> Sequence[Route]:
        """The table's rows. Changes are for the operator's own pages only."""
        return [
            Route(method, path, endpoint, Api.TRACE, control=method == "POST")
            for path in _PATHS
            for method, endpoint in (("GET", self.settings), ("POST", self.change))
        ]

    def settings(self, exchange: Exchange, body: memoryview) -> Answer:
        """GET."""
        return answers.document(self._server.trace_settings(exchange.head.arguments.get("model", "")))

    def change(self, exchange: Exchange, body: memoryview) -> Answer:
        """POST: what is not named stays as it is."""
        model_name = exchange.head.arguments.get("model", "")
        self._server.trace_settings(model_name)  # an unknown model before whatever else is wrong
        return answers.document(self._server.change_trace_settings(wanted_from_json(body), model_name))
