"""The table of endpoints: which method and path lead where."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from atoll.frontends.apis import Api
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange

# An endpoint gets the exchange and the request's body. It returns the answer, or None where `exchange.answer` brings it
# later.
Endpoint: TypeAlias = Callable[[Exchange, memoryview], Answer | None]

_PLACES = {
    "{model}": "(?P<model>[^/]+)",
    "{version}": "(?P<version>[0-9]+)",
    "{repository}": "(?P<repository>[^/]+)",
}


class NoRoute(Enum):
    """Why a request leads nowhere."""

    UNKNOWN_PATH = "unknown path"
    WRONG_METHOD = "wrong method"


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path; `{model}`, `{version}` and `{repository}` stand for one segment each.

    `api`: the part of the protocol that it belongs to. `control`: it changes or reveals what the operator owns, so web
    pages of other origins are refused. `plain_errors`: the real server labels this endpoint's refusals text/plain.
    """

    method: str
    path: str
    endpoint: Endpoint
    api: Api
    control: bool = False
    plain_errors: bool = False


class RouteTable:
    """Finds the route of a request; the first path that fits counts."""

    def __init__(self, routes: Sequence[Route]):
        self._paths: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = by_path.get(route.path)
            if methods is None:
                methods = by_path[route.path] = {}
                self._paths.append((_pattern(route.path), methods))
            methods[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | tuple[NoRoute, bool]:
        """The route and what stands in its places; or why there is none, and whether that refusal is plain."""
        for pattern, methods in self._paths:
            places = pattern.fullmatch(path)
            if places is not None:
                route = methods.get(method)
                if route is not None:
                    return route, places.groupdict()
                return NoRoute.WRONG_METHOD, next(iter(methods.values())).plain_errors
        return NoRoute.UNKNOWN_PATH, True


def _pattern(path: str) -> re.Pattern[str]:
    pieces = re.split(r"(\{\w+\})", path)
    return re.compile("".join(_PLACES.get(piece, re.escape(piece)) for piece in pieces))
