"""The calls that ask what is served: each a function from its request's bytes to its answer's."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from atoll.config.textproto import to_message
from atoll.errors import AtollError, InternalError, NotFoundError, UnsupportedError
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.transport import Call
from atoll.protocol import documents
from atoll.protocol.model_version import model_version
from atoll.protocol.schema import message_class
from atoll.server import Server

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"

_LATER = (
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
)

Answer = Callable[[Any], Any]
"""From a request's message to its answer: a message, or the fields of one."""


class Documents:
    """What the calls need: the server that they ask."""

    def __init__(self, server: Server):
        self._server = server

    def procedures(self) -> dict[str, Callable[[Call, bytes], bytes]]:
        """The unary calls by path."""
        answers: dict[str, Answer] = {
            "ServerLive": lambda _: {"live": self._server.live()},
            "ServerReady": lambda _: {"ready": self._server.ready()},
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: documents.server_metadata(self._server.metadata()),
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
        }
        paths = {
            SERVICE + name: _procedure(f"inference.{name}Request", f"inference.{name}Response", answer)
            for name, answer in answers.items()
        }
        paths[HEALTH + "Check"] = _procedure(
            "grpc.health.v1.HealthCheckRequest", "grpc.health.v1.HealthCheckResponse", self._check
        )
        paths |= {SERVICE + name: _unsupported(name) for name in _LATER}
        return paths

    def _model_ready(self, request: Any) -> Any:
        try:
            return {"ready": self._server.model_ready(request.name, model_version(request.version))}
        except NotFoundError:  # to the real server that is an answer, not an error
            return {"ready": False}

    def _model_metadata(self, request: Any) -> Any:
        return documents.model_metadata(self._server.model_metadata(request.name, model_version(request.version)))

    def _model_config(self, request: Any) -> Any:
        return {"config": to_message(self._server.model(request.name, model_version(request.version)).config)}

    def _model_statistics(self, request: Any) -> Any:
        return documents.statistics(self._server.statistics(request.name, model_version(request.version)))

    def _repository_index(self, request: Any) -> Any:
        if request.repository_name:
            raise UnsupportedError("'repository_name' specification is not supported")
        models = [(model.name, model.version, "READY", "") for model in self._server.models() if model.ready]
        if not request.ready:
            models += [(name, "", "UNAVAILABLE", str(error)) for name, error in self._server.failures().items()]
        return {"models": documents.repository_index(sorted(models))}

    def _check(self, _: Any) -> Any:
        return {
            "status": "SERVING" if self._server.ready() else "NOT_SERVING"
        }  # whatever the service, as the real server


def _procedure(request_name: str, answer_name: str, answer: Answer) -> Callable[[Call, bytes], bytes]:
    request_class, answer_class = message_class(request_name), message_class(answer_name)

    def procedure(call: Call, message: bytes) -> bytes:
        try:
            try:
                request = request_class.FromString(message)
            except DecodeError:
                raise InternalError("Unable to parse request") from None
            encoded: bytes = answer_class(**answer(request)).SerializeToString()
            return encoded
        except AtollError as error:
            raise grpc_error(error) from None

    return procedure


def _unsupported(name: str) -> Callable[[Call, bytes], bytes]:
    error = UnsupportedError(f"{name} is not implemented by this version of Atoll")

    def procedure(call: Call, message: bytes) -> bytes:
        raise grpc_error(error)

    return procedure
