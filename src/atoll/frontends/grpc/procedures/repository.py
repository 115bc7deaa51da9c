"""The calls that load and unload models and list them. What they call blocks, so it runs on other threads."""

from asyncio import AbstractEventLoop
from typing import Any

from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.grpc.procedures.procedure import SERVICE, blocking_procedure
from atoll.frontends.grpc.transport import UnaryHandler
from atoll.protocol import documents
from atoll.protocol import repository as protocol
from atoll.server import Server


class RepositoryCalls:
    """For one event loop. Load and unload calls do not hold up who only asks what is there."""

    def __init__(self, server: Server, loop: AbstractEventLoop):
        self._server = server
        self._changes = BlockingCalls(loop, "load and unload")
        self._questions = BlockingCalls(loop, "repository index", threads=2)

    def procedures(self) -> dict[str, UnaryHandler]:
        """The unary calls by path."""
        return {
            SERVICE + name: blocking_procedure(name, calls, work)
            for name, calls, work in (
                ("RepositoryModelLoad", self._changes, self._load),
                ("RepositoryModelUnload", self._changes, self._unload),
                ("RepositoryIndex", self._questions, self._index),
            )
        }

    def close(self) -> None:
        """The server is stopping: calls that have begun go on, and are answered as long as their connections last."""
        self._changes.close()
        self._questions.close()

    def _load(self, request: Any) -> Any:
        parameters = protocol.load_from_message(request)
        self._server.load_model(request.model_name, config=parameters.config, files=parameters.files or None)
        return {}

    def _unload(self, request: Any) -> Any:
        dependents = protocol.unload_from_message(request)
        self._server.unload_model(request.model_name, unload_dependents=dependents)
        return {}

    def _index(self, request: Any) -> Any:
        protocol.refuse_repository_name(request)
        return {"models": documents.repository_index(self._server.repository_index(request.ready))}
