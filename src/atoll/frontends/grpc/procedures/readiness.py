"""Whether a model is ready. A model whose own code says so is asked on another thread: it may take its time."""

from asyncio import AbstractEventLoop
from typing import Any

from atoll.errors import AtollError, NotFoundError
from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.grpc.procedures.procedure import SERVICE, blocking_procedure, decoded, procedure
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.transport import Call, Message, Pending, UnaryHandler
from atoll.protocol.model_version import model_version
from atoll.protocol.schema import message_class
from atoll.server import Server


class Readiness:
    """ModelReady, for one event loop."""

    def __init__(self, server: Server, loop: AbstractEventLoop):
        self._server = server
        self._calls = BlockingCalls(loop, "model readiness")
        self._request_class = message_class("inference.ModelReadyRequest")
        self._answer = procedure("ModelReady", self._ready)
        self._ask = blocking_procedure("ModelReady", self._calls, self._ready)

    def procedures(self) -> dict[str, UnaryHandler]:
        """The unary call by its path."""
        return {SERVICE + "ModelReady": self._model_ready}

    def _model_ready(self, call: Call, message: bytes) -> Message | Pending:
        try:
            request = decoded(self._request_class, message)
            asks = self._server.asks_model_when_ready(request.name, model_version(request.version))
        except AtollError as error:
            raise grpc_error(error) from None
        return self._ask(call, message) if asks else self._answer(call, message)

    def _ready(self, request: Any) -> Any:
        try:
            return {"ready": self._server.model_ready(request.name, model_version(request.version))}
        except NotFoundError:  # to the real server that is an answer, not an error
            return {"ready": False}

    def close(self) -> None:
        """The server is stopping: no model is asked any more."""
        self._calls.close()
