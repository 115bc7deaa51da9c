"""The endpoints that load and unload models and list them. What they call blocks, so it runs on other threads."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from atoll.frontends.access.keys import NO_DEPENDENTS, NO_OVERRIDE, ApiKey
from atoll.frontends.apis import Api
from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import JSON, Answer
from atoll.frontends.http.calling import answer_later
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.head import RequestHead
from atoll.frontends.http.routes import Route
from atoll.protocol import documents
from atoll.protocol import repository as protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from atoll.server import Server

logger = logging.getLogger(__name__)

REPOSITORY = "/v2/repository"
NAMED = REPOSITORY + "/{repository}"


class RepositoryEndpoints:
    """For one event loop. Load and unload calls do not hold up who only asks what is there."""

    def __init__(self, server: "Server", loop: "AbstractEventLoop"):
        self._server = server
        self._changes = BlockingCalls(loop, "load and unload")
        self._questions = BlockingCalls(loop, "repository index", threads=2)

    def routes(self) -> Sequence[Route]:
        """The real server takes a repository's name in the path of the index, where it means nothing."""
        table = [
            Route("POST", prefix + "/index", self.index, Api.MODEL_REPOSITORY, control=True)
            for prefix in (REPOSITORY, NAMED)
        ]
        for action, endpoint in (("load", self.load), ("unload", self.unload)):
            path = "/models/{model}/" + action
            table += [
                Route("POST", REPOSITORY + path, endpoint, Api.MODEL_REPOSITORY, control=True),
                Route("POST", NAMED + path, _refuse_repository_name, Api.MODEL_REPOSITORY, control=True),
            ]
        return table

    def close(self) -> None:
        """The server is stopping: calls that have begun go on, and are answered as long as their connections last."""
        self._changes.close()
        self._questions.close()

    def index(self, exchange: Exchange, body: memoryview) -> Answer | None:
        return answer_later(exchange, self._questions, partial(self._index, exchange.head.key, body))

    def _index(self, key: ApiKey | None, body: memoryview) -> Answer:
        found = self._server.repository_index(protocol.only_ready(body))
        if key is not None:
            found = [one for one in found if key.may_use(one.name)]
        return answers.document(documents.repository_index(found))

    def load(self, exchange: Exchange, body: memoryview) -> Answer | None:
        return answer_later(exchange, self._changes, partial(self._load, exchange.head, body))

    def _load(self, head: RequestHead, body: memoryview) -> Answer:
        name = head.arguments["model"]
        parameters = protocol.load_from_json(body, name)
        if head.key is not None and (parameters.config or parameters.files):
            head.key.demand_all_models(NO_OVERRIDE)
        self._server.load_model(name, config=parameters.config, files=parameters.files or None)
        return Answer(200, [], headers=JSON)

    def unload(self, exchange: Exchange, body: memoryview) -> Answer | None:
        return answer_later(exchange, self._changes, partial(self._unload, exchange.head, body))

    def _unload(self, head: RequestHead, body: memoryview) -> Answer:
        name = head.arguments["model"]
        dependents, problem = protocol.unload_from_json(body)
        if head.key is not None and dependents:
            head.key.demand_all_models(NO_DEPENDENTS)
        if problem:
            logger.warning("the body of a request to unload '%s' is ignored: %s", name, problem)
        self._server.unload_model(name, unload_dependents=dependents)
        return Answer(200, [], headers=JSON)


def _refuse_repository_name(exchange: Exchange, body: memoryview) -> Answer:
    return answers.refusal(501, protocol.NO_REPOSITORY_NAME, plain=False)
