"""Where to listen, as the options say it: a host and a port, or the path of a Unix socket."""

from dataclasses import dataclass

_UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class Address:
    """`path`: of a Unix socket, which has no host and no port. A `host` that is empty stands for every interface."""

    host: str = ""
    port: int = 0
    path: str = ""


def parse_address(text: str, port: int) -> Address:
    """`127.0.0.1`, `::1`, `[::1]`, a name, any of them with `ipv4:` or `ipv6:` in front, or `unix:/path`."""
    if text.startswith(_UNIX):
        return Address(path=text.removeprefix(_UNIX))
    host = text.removeprefix("ipv6:").removeprefix("ipv4:")
    return Address(host=host.removeprefix("[").removesuffix("]"), port=port)


def shown(host: str, port: int) -> str:
    """What was bound, for the log: `127.0.0.1:8000`, `[::1]:8000`, `unix:/path`."""
    if host.startswith(_UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def grpc_target(address: Address) -> str:
    """The same in the form that grpcio takes."""
    return _UNIX + address.path if address.path else shown(address.host or "[::]", address.port)
