"""What is said about one listening address."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.errors import InvalidArgumentError
from atoll.frontends.listening.tls import TlsFiles

SOCKET_MODE = 0o660


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """`host`: see `parse_address`. Port 0 lets the system choose.

    `loops`: event loops with a thread each among which the connections are dealt out; 0 is the loop that starts it.
    `socket_mode`: the permissions of a Unix socket's file.
    """

    host: str = "127.0.0.1"
    port: int = 0
    reuse_port: bool = False
    tls: TlsFiles | None = None
    loops: int = 0
    socket_mode: int = SOCKET_MODE


def socket_mode(values: Mapping[str, Any]) -> int:
    """From the server's options, by field name. Raises InvalidArgumentError."""
    text = values["unix_socket_mode"]
    if not re.fullmatch("0?[0-7]{3}", text):
        raise InvalidArgumentError(f"--unix-socket-mode={text}: expected three octal digits, such as 660")
    return int(text, 8)
