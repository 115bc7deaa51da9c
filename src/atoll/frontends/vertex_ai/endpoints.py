"""The endpoints of one event loop; statuses and texts are those of the real server (2.51)."""

from typing import TYPE_CHECKING, Final

from atoll.frontends.apis import Api
from atoll.frontends.hosting.media_type import infer_head
from atoll.frontends.hosting.rewriting import rewritten
from atoll.frontends.hosting.table import HostingRoutes
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.calling import call_endpoint
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import RequestHead, interpret
from atoll.frontends.http.routes import Route, RouteTable
from atoll.frontends.http.service import HttpService
from atoll.frontends.vertex_ai.environment import AipRoutes

if TYPE_CHECKING:
    from atoll.server import Server

MEDIA_TYPE: Final = "application/vnd.vertex-ai-triton.binary+json;json-header-size="
REDIRECT: Final = "x-vertex-ai-triton-redirect"
NOT_REDIRECTED: Final = frozenset({Api.TRACE, Api.LOGGING, Api.DOCUMENTATION, Api.DASHBOARD})
"""What of the protocol cannot be reached through a redirect."""


class VertexAiEndpoints:
    """To be made on the loop's thread. `http`: the endpoints of the protocol, on the same loop. `metrics`: its page."""

    def __init__(self, server: "Server", routes: AipRoutes, model: str, http: HttpService, metrics: RouteTable | None):
        self._server = server
        self._model = model
        self._http = http
        self._metrics = metrics
        found = http.routes.find("/v2/models/any/infer")
        assert found is not None, "HTTP has an endpoint for inference. This is a bug"
        self._infer = found.methods["POST"]
        self.routes: RouteTable = HostingRoutes(
            [
                Route("GET", routes.health, self.health, Api.HEALTH, plain_errors=True),
                Route("POST", routes.predict, self.predict, Api.INFERENCE, plain_errors=True),
            ],
            told={routes.health: "", routes.predict: model},
            access=http.context.access,
        )

    def close(self) -> None:
        """Load and unload nothing more; what has begun goes on."""
        self._http.close()

    def health(self, exchange: Exchange, body: memoryview) -> Answer:
        return answers.empty(200 if self._server.ready() else 400)

    def predict(self, exchange: Exchange, body: memoryview) -> Answer | None:
        """One inference; with the header X-Vertex-Ai-Triton-Redirect, whatever of the protocol it names."""
        head = exchange.head
        target = next((value for name, value in head.headers if name == REDIRECT), None)
        if target is not None:
            return self._redirected(exchange, target, body)
        changed = infer_head(head, self._model, MEDIA_TYPE)
        changed.route = self._infer
        return _call(exchange, changed, body)

    def _redirected(self, exchange: Exchange, target: str, body: memoryview) -> Answer | None:
        """Vertex AI sends nothing but POST, so the method is the one that the path has, POST where it has several."""
        path = f"/{target}"
        tables = [self._http.routes] if self._metrics is None or path != "/metrics" else [self._metrics]
        for table in tables:
            found = table.find(path)
            if found is None or next(iter(found.methods.values())).api in NOT_REDIRECTED:
                continue
            method = "POST" if "POST" in found.methods else next(iter(found.methods))
            outer = exchange.head
            head = interpret(table, method, path, outer.headers)
            sized = infer_head(head, "", MEDIA_TYPE)
            sized.arguments = head.arguments
            if sized.refusal is None:
                sized.route = found.methods[method]  # not counted against a key's rate once more
            sized.minor_version, sized.keep_alive = outer.minor_version, outer.keep_alive
            return _call(exchange, sized, body)
        return answers.empty(400)


def _call(exchange: Exchange, head: RequestHead, body: memoryview) -> Answer | None:
    if head.refusal is not None:
        return head.refusal
    assert head.route is not None, "a head has a route or a refusal. This is a bug"
    return call_endpoint(head.route, rewritten(exchange, head, _as_it_is), body)


def _as_it_is(answer: Answer) -> Answer:
    return answer
