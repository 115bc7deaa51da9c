"""The endpoints of a hosting service: what is none of them is 400 without a body, as for the real server."""

from collections.abc import Mapping, Sequence
from typing import overload

from atoll.frontends.access.control import AccessControl
from atoll.frontends.apis import Api
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Destination, Route, RouteTable
from atoll.frontends.inference.carried_headers import HeaderReader


class HostingRoutes(RouteTable):
    """`told`: the paths that answer 405 to other methods, each with the model that it is about, "" for none; for the
    other paths that, too, is 400. `access`: None is off.
    """

    def __init__(self, routes: Sequence[Route], told: Mapping[str, str], access: AccessControl | None = None):
        # The real server forwards no headers to models from here; the trace context goes along.
        super().__init__(routes, None if access is None else access.hosted, HeaderReader())
        self._told = {path: {"model": model} if model else {} for path, model in told.items()}

    def find(self, path: str) -> Destination:
        """Always leads somewhere."""
        found = super().find(path)
        if found is None:
            return Destination(_AnyMethod({"": _refusal(path)}), {})
        if path in self._told:
            return Destination(found.methods, self._told[path])
        return Destination(_AnyMethod(found.methods), found.places)


class _AnyMethod(dict[str, Route]):
    """Routes by method; those of other methods refuse."""

    @overload
    def get(self, method: str, default: None = None, /) -> Route: ...
    @overload
    def get(self, method: str, default: object, /) -> Route: ...
    def get(self, method: str, default: object = None, /) -> Route:
        return super().get(method) or _refusal("")


def _refusal(path: str) -> Route:
    return Route("", path, _refuse, Api.HEALTH, plain_errors=True)


def _refuse(exchange: Exchange, body: memoryview) -> Answer:
    return answers.empty(400)
