"""The call that shows and changes what the log takes while the server runs."""

from atoll.errors import AtollError
from atoll.frontends.grpc.documents import SERVICE, decoded
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.transport import Call, UnaryHandler
from atoll.frontends.log_control import the_log
from atoll.protocol import log_settings as protocol
from atoll.protocol.schema import message_class


def procedures() -> dict[str, UnaryHandler]:
    """The unary calls by path."""
    request_class, answer_class = (message_class(f"inference.LogSettings{end}") for end in ("Request", "Response"))

    def procedure(call: Call, message: bytes) -> bytes:
        try:
            changes = protocol.changes_from_message(decoded(request_class, message))
            settings = the_log().change(**changes)
        except AtollError as error:
            raise grpc_error(error) from None
        encoded: bytes = answer_class(settings=protocol.settings_of_message(settings)).SerializeToString()
        return encoded

    return {SERVICE + "LogSettings": procedure}
