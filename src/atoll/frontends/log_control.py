"""The log that clients may look at and change: that of a server process, and no other's."""

from atoll.errors import UnsupportedError
from atoll.observability.logging.server_log import ServerLog, server_log


def the_log() -> ServerLog:
    """This process's. Raises UnsupportedError where Atoll is a library in somebody else's program."""
    log = server_log()
    if log is None:
        raise UnsupportedError(
            "the log belongs to the program in which this server runs, and is set up there (Python's logging, 'atoll')"
        )
    return log
