"""GET /openapi.json and GET /docs."""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import orjson

from atoll.config.metadata import ModelMetadata
from atoll.errors import AtollError
from atoll.frontends.apis import Api
from atoll.frontends.context import FrontendContext
from atoll.frontends.http.answer import JSON, Answer
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Route
from atoll.frontends.openapi.document import openapi

if TYPE_CHECKING:
    from atoll.server import Server

DOCUMENT, PAGE = "/openapi.json", "/docs"
MAX_MODELS: Final = 100
"""Models whose examples are shown; the document is made anew for who asks."""

_FRESH: Final = b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"


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
        return Answer(200, [orjson.dumps(found)], _FRESH + JSON)

    def page(self, exchange: Exchange, body: memoryview) -> Answer:
        text, policy = _page()
        headers = b"Content-Security-Policy: %s\r\n%sContent-Type: text/html; charset=utf-8\r\n" % (policy, _FRESH)
        return Answer(200, [text], headers)

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


@cache
def _page() -> tuple[bytes, bytes]:
    """The page, and the policy under which its own script and style are the only ones that run."""
    text = files("atoll.frontends.openapi").joinpath("page.html").read_bytes()
    script, style = (_hashed(text, tag) for tag in (b"script", b"style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy.encode()


def _hashed(text: bytes, tag: bytes) -> str:
    found = re.search(rb"<%b>(.*?)</%b>" % (tag, tag), text, re.DOTALL)
    assert found is not None, f"the page has one {tag.decode()} of its own. This is a bug"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}'"
