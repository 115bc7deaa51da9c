"""The call that shows and changes what the log takes while the server runs."""

from typing import Any

from atoll.frontends.grpc.procedures.procedure import SERVICE, procedure
from atoll.frontends.grpc.transport import UnaryHandler
from atoll.observability.logging.server_log import changeable_log
from atoll.protocol import log_settings as protocol


def procedures() -> dict[str, UnaryHandler]:
    """The unary calls by path."""
    return {SERVICE + "LogSettings": procedure("LogSettings", _log_settings)}


def _log_settings(request: Any) -> Any:
    changes = protocol.changes_from_message(request)
    return {"settings": protocol.settings_of_message(changeable_log().change(**changes))}
