"""Who may use an HTTP endpoint, decided when a head is read: once for all requests with the same head."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from atoll.errors import AtollError
from atoll.frontends.access.cors import Cors
from atoll.frontends.access.credentials import token_of
from atoll.frontends.access.keyring import KeyRing, Remembering
from atoll.frontends.access.keys import ApiKey, open_to_all
from atoll.frontends.access.restrictions import Restrictions
from atoll.frontends.apis import Api
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Route

if TYPE_CHECKING:
    from atoll.frontends.http.head import RequestHead


class HttpGate:
    """For all HTTP ports of a server; usable from any thread. What is None or empty is off.

    `hosted`: the endpoints are those of a hosting service (see `ApiKey.check`).
    """

    def __init__(
        self,
        restrictions: Restrictions,
        keys: KeyRing | None = None,
        exempt: frozenset[Api] = frozenset(),
        cors: Cors | None = None,
        *,
        hosted: bool = False,
    ):
        self._restrictions = restrictions
        self._keys = keys
        self._exempt = exempt
        self._cors = cors
        self._hosted = hosted

    def tell(self, rememberer: Remembering) -> None:
        """Tell it to forget its heads when what was decided about them holds no longer."""
        if self._keys is not None:
            self._keys.tell(rememberer)

    def names_origin(self, origin: str) -> bool:
        """Whether the operator named the pages of this origin, so that they may use control endpoints too."""
        return self._cors is not None and self._cors.names(origin)

    def greet(self, head: "RequestHead", origin: str | None) -> None:
        """What each answer to this request tells its browser."""
        if self._cors is not None:
            head.answer_headers += self._cors.answer_headers(origin)

    def examine(
        self, head: "RequestHead", origin: str | None, methods: Mapping[str, Route], places: Mapping[str, str]
    ) -> Answer | None:
        """The refusal; None where the request may go on. `methods`: the routes of its path. Gives the head its key."""
        if self._cors is not None and origin is not None and _is_preflight(head):
            return self._cors.preflight(origin, methods)
        if all(one.open_to_all for one in methods.values()):
            return None
        api = next(iter(methods.values())).api
        if self._keys is not None and not (api in self._exempt and open_to_all(api, "model" in places)):
            try:
                key = self._keys.find(token_of(head.headers))
                head.key = key
                key.check(api, places.get("model", ""), hosted=self._hosted)
            except AtollError as error:
                return answers.refusal_of(error)
        restriction = self._restrictions.get(api)
        if restriction is not None and not restriction.admits(_first(head, restriction.name)):
            return answers.refusal(403, f"This API is restricted, expecting header '{restriction.header}'")
        return None

    def lacks(self, head: "RequestHead", api: Api) -> str:
        """The name of the header that a request of this client would need for a restricted API; "" for none."""
        restriction = self._restrictions.get(api)
        if restriction is None or restriction.admits(_first(head, restriction.name)):
            return ""
        return restriction.header

    def metered(self, route: Route, key: ApiKey) -> Route:
        """The same route, with each request counted against the key first."""
        if not key.changes_with_time:
            return route
        endpoint = route.endpoint

        def counted(exchange: Exchange, body: memoryview) -> Answer | None:
            key.admit()
            return endpoint(exchange, body)

        return replace(route, endpoint=counted)


def _is_preflight(head: "RequestHead") -> bool:
    return head.method == "OPTIONS" and any(name == "access-control-request-method" for name, _ in head.headers)


def _first(head: "RequestHead", name: str) -> bytes | None:
    """The value of the first such header."""
    for one, value in head.headers:
        if one == name:
            return value.encode("utf-8", "surrogateescape")
    return None
