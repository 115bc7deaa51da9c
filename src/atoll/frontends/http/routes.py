"""The table of endpoints: which method and path lead where."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from atoll.frontends.apis import Api
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.exchange import Exchange

if TYPE_CHECKING:
    from atoll.frontends.access.http_gate import HttpGate
    from atoll.frontends.inference.carried_headers import HeaderReader

# An endpoint gets the exchange and the request's body. It returns the answer, or None where `exchange.answer` brings it
# later.
Endpoint: TypeAlias = Callable[[Exchange, memoryview], Answer | None]

_PLACES = {
    "{model}": "(?P<model>[^/]+)",
    "{version}": "(?P<version>[0-9]+)",
    "{repository}": "(?P<repository>[^/]+)",
    "{region}": "(?P<region>[^/]+)",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path; `{model}`, `{version}` and `{repository}` stand for one segment each.

    `api`: the part of the protocol that it belongs to. `control`: it changes or reveals what the operator owns, so web
    pages of other origins are refused. `plain_errors`: the real server labels this endpoint's refusals text/plain.
    `open_to_all`: what it answers is the same on every server, so nobody is asked for a key or a secret.
    """

    method: str
    path: str
    endpoint: Endpoint
    api: Api
    control: bool = False
    plain_errors: bool = False
    open_to_all: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a path leads: its routes by method, all of one API, and what stands in its places."""

    methods: Mapping[str, Route]
    places: Mapping[str, str]


class RouteTable:
    """Finds what a path leads to; the first one that fits counts. `gate`: who may go there, None: everybody.
    `carrying`: what reads the headers that are for models; None: they are nobody's.
    """

    def __init__(self, routes: Sequence[Route], gate: "HttpGate | None" = None, carrying: "HeaderReader | None" = None):
        self.gate = gate
        self.carrying = carrying
        self.routes = tuple(routes)
        self._paths: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = by_path.get(route.path)
            if methods is None:
                methods = by_path[route.path] = {}
                self._paths.append((_pattern(route.path), methods))
            methods[route.method] = route
        for path, methods in by_path.items():
            assert len({one.api for one in methods.values()}) == 1, f"{path} belongs to two APIs. This is a bug"

    def find(self, path: str) -> Destination | None:
        """None: nowhere."""
        for pattern, methods in self._paths:
            places = pattern.fullmatch(path)
            if places is not None:
                return Destination(methods, places.groupdict())
        return None


def _pattern(path: str) -> re.Pattern[str]:
    pieces = re.split(r"(\{\w+\})", path)
    return re.compile("".join(_PLACES.get(piece, re.escape(piece)) for piece in pieces))
