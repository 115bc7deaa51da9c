"""The calls that ask what is served: each a function from its request's bytes to its answer's."""

from functools import partial
from typing import Any

from atoll.config.textproto import to_message
from atoll.errors import AtollError, ModelAsleepError
from atoll.frontends.event_loop.waking import Waking
from atoll.frontends.grpc.procedures.procedure import HEALTH, SERVICE, Work, decoded
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.transport import Call, Pending, UnaryHandler
from atoll.frontends.grpc.waking import call_again
from atoll.protocol import documents
from atoll.protocol.model_version import model_version
from atoll.protocol.schema import message_class
from atoll.server import Server


class Documents:
    """What the calls need: the server that they ask, and where they wait for a model that has to be loaded first."""

    def __init__(self, server: Server, waking: Waking):
        self._server = server
        self._waking = waking

    def procedures(self) -> dict[str, UnaryHandler]:
        """The unary calls by path."""
        answers: dict[str, Work] = {
            "ServerLive": lambda _: {"live": self._server.live()},
            "ServerReady": lambda _: {"ready": self._server.ready()},
            "ServerMetadata": lambda _: documents.server_metadata(self._server.metadata()),
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
        }
        paths: dict[str, UnaryHandler] = {
            SERVICE + name: self._procedure(f"inference.{name}Request", f"inference.{name}Response", answer)
            for name, answer in answers.items()
        }
        paths[HEALTH + "Check"] = self._procedure(
            "grpc.health.v1.HealthCheckRequest", "grpc.health.v1.HealthCheckResponse", self._check
        )
        return paths

    def _model_metadata(self, request: Any) -> Any:
        return documents.model_metadata(self._server.model_metadata(request.name, model_version(request.version)))

    def _model_config(self, request: Any) -> Any:
        return {"config": to_message(self._server.model(request.name, model_version(request.version)).config)}

    def _model_statistics(self, request: Any) -> Any:
        version = model_version(request.version)
        found = self._server.statistics(request.name, version if request.name else "")
        return documents.statistics(found, self._server.recent_model_memory(request.name))

    def _check(self, _: Any) -> Any:
        return {
            "status": "SERVING" if self._server.ready() else "NOT_SERVING"
        }  # whatever the service, as the real server

    def _procedure(self, request_name: str, answer_name: str, answer: Work) -> UnaryHandler:
        request_class, answer_class = message_class(request_name), message_class(answer_name)

        def procedure(call: Call, message: bytes, attempt: int = 0) -> bytes | Pending:
            try:
                request = decoded(request_class, message)
                try:
                    encoded: bytes = answer_class(**answer(request)).SerializeToString()
                except ModelAsleepError as asleep:
                    again = partial(procedure, call, message, attempt + 1)
                    return call_again(self._waking, asleep, request.name, attempt, call, again)
                return encoded
            except AtollError as error:
                raise grpc_error(error) from None

        return procedure
