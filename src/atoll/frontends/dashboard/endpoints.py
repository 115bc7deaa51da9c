"""GET /dashboard and GET /dashboard/data."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import orjson

from atoll.frontends.access.control import AccessControl
from atoll.frontends.apis import Api
from atoll.frontends.dashboard.document import Viewer, document
from atoll.frontends.dashboard.sampler import Sampler
from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.http.answer import JSON, Answer
from atoll.frontends.http.calling import answer_later
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import RequestHead
from atoll.frontends.http.routes import Route
from atoll.frontends.http.static_page import FRESH, static_page
from atoll.protocol import json_text

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from atoll.server import Server

PAGE, DATA = "/dashboard", "/dashboard/data"
_PACKAGE: Final = "atoll.frontends.dashboard"


class DashboardEndpoints:
    """For one event loop; what they show is read on another thread. `sampler`: one for all event loops."""

    def __init__(self, server: "Server", loop: "AbstractEventLoop", sampler: Sampler, access: AccessControl | None):
        self._server = server
        self._sampler = sampler
        self._access = access
        self._calls = BlockingCalls(loop, "dashboard", threads=1, waiting=64)

    def routes(self) -> Sequence[Route]:
        """The page itself says nothing of this server; what it shows is asked for by its script, with a key."""
        return [
            Route("GET", PAGE, self.page, Api.DASHBOARD, open_to_all=True),
            Route("GET", DATA, self.data, Api.DASHBOARD, control=True),
        ]

    def close(self) -> None:
        """The server is stopping."""
        self._calls.close()

    def page(self, exchange: Exchange, body: memoryview) -> Answer:
        return static_page(_PACKAGE)

    def data(self, exchange: Exchange, body: memoryview) -> Answer | None:
        return answer_later(exchange, self._calls, partial(self._data, exchange.head))

    def _data(self, head: RequestHead) -> Answer:
        found = document(self._sampler.look(), self._server.metadata(), self._viewer(head))
        try:
            text = orjson.dumps(found)
        except orjson.JSONEncodeError:  # names and texts that are not UTF-8
            text = json_text.dump(found)
        return Answer(200, [text], FRESH + JSON)

    def _viewer(self, head: RequestHead) -> Viewer:
        gate = None if self._access is None else self._access.http
        mode = self._server.options.model_control_mode
        header = "" if gate is None else gate.lacks(head, Api.MODEL_REPOSITORY)
        asks = self._access is not None and self._access.asks_for_key(Api.MODEL_REPOSITORY)
        may = not asks or (head.key is not None and head.key.opens(Api.MODEL_REPOSITORY))
        return Viewer(key=head.key, explicit=mode == "explicit", may_control=may, control_header=header)
