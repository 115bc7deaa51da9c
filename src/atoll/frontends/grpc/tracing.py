"""The call that asks for the trace settings, and changes them."""

from typing import Any

from atoll.errors import AtollError
from atoll.frontends.grpc.documents import SERVICE, decoded
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.transport import Call, UnaryHandler
from atoll.protocol.schema import message_class
from atoll.protocol.trace_settings import message_fields, wanted_from_message
from atoll.server import Server


class TraceCalls:
    """TraceSetting. Nothing here takes long."""

    def __init__(self, server: Server):
        self._server = server
        self._request = message_class("inference.TraceSettingRequest")
        self._answer = message_class("inference.TraceSettingResponse")

    def procedures(self) -> dict[str, UnaryHandler]:
        """The unary calls by path."""
        return {SERVICE + "TraceSetting": self.trace_setting}

    def trace_setting(self, call: Call, message: bytes) -> bytes:
        try:
            request: Any = decoded(self._request, message)
            document = self._server.trace_settings(request.model_name)
            wanted = wanted_from_message(request)
            if wanted:
                document = self._server.change_trace_settings(wanted, request.model_name, space=" ")
            encoded: bytes = self._answer(**message_fields(document)).SerializeToString()
            return encoded
        except AtollError as error:
            raise grpc_error(error) from None
