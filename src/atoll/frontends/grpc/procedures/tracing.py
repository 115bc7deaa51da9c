"""The call that asks for the trace settings, and changes them."""

from typing import Any

from atoll.frontends.grpc.procedures.procedure import SERVICE, procedure
from atoll.frontends.grpc.transport import UnaryHandler
from atoll.protocol.trace_settings import message_fields, wanted_from_message
from atoll.server import Server


def procedures(server: Server) -> dict[str, UnaryHandler]:
    """The unary calls by path."""

    def trace_setting(request: Any) -> Any:
        document = server.trace_settings(request.model_name)
        wanted = wanted_from_message(request)
        if wanted:
            document = server.change_trace_settings(wanted, request.model_name, space=" ")
        return message_fields(document)

    return {SERVICE + "TraceSetting": procedure("TraceSetting", trace_setting)}
