"""Where to listen, as the options say it: a host and a port, or the path of a Unix socket."""

import socket
from dataclasses import dataclass

_UNIX = "unix:"
_FAMILIES = {"ipv4:": socket.AF_INET, "ipv6:": socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Address:
    """`path`: of a Unix socket, which has no host and no port. A `host` that is empty stands for every interface.
    `family`: the internet protocol that was asked for, 0 for either.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    family: int = 0


def parse_address(text: str, port: int) -> Address:
    """`127.0.0.1`, `::1`, `[::1]`, a name, any of them with `ipv4:` or `ipv6:` in front, or `unix:/path`."""
    if text.startswith(_UNIX):
        return Address(path=text.removeprefix(_UNIX))
    family = next((one for prefix, one in _FAMILIES.items() if text.startswith(prefix)), 0)
    host = text.partition(":")[2] if family else text
    return Address(host=host.removeprefix("[").removesuffix("]"), port=port, family=family)


def beside(http_address: str) -> str:
    """Where another port listens that has no address of its own: where HTTP does; but two of them cannot have one Unix
    socket.
    """
    return "127.0.0.1" if http_address.startswith(_UNIX) else http_address


def shown(host: str, port: int) -> str:
    """What was bound, for the log: `127.0.0.1:8000`, `[::1]:8000`, `unix:/path`."""
    if host.startswith(_UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def grpc_target(address: Address) -> str:
    """The same in the form that grpcio takes."""
    return _UNIX + address.path if address.path else shown(address.host or "[::]", address.port)
