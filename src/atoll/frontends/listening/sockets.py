"""Listening sockets: TCP on one or both internet protocols, and Unix sockets, whose files come and go with them."""

import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import Any

from atoll.frontends.listening.address import Address, shown

BACKLOG = 1024
_TRIES = 8  # where the system's choice of a port is to be free on several addresses
_LONGEST_PATH = 107  # bytes: sun_path of Linux has 108, the last one ends it


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a Unix socket that was bound here."""

    path: str
    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> "SocketFile":
        """The file that is there now. Raises OSError where there is none."""
        found = os.stat(path, follow_symlinks=False)
        return cls(path, found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Take it away, unless it is somebody else's by now."""
        try:
            if SocketFile.at(self.path) == self:
                os.unlink(self.path)
        except OSError:
            pass  # it is gone already, or its folder is


@dataclass(frozen=True, slots=True)
class Bound:
    """Sockets that listen, without blocking, and what they are bound to."""

    sockets: tuple[socket.socket, ...]
    addresses: list[tuple[str, int]]
    file: SocketFile | None = None

    def close(self) -> None:
        """Listen no more."""
        for one in self.sockets:
            one.close()
        if self.file is not None:
            self.file.remove()


def listen_on(address: Address, reuse_port: bool = False, mode: int = 0o660) -> Bound:
    """Bind and listen. `mode`: permissions of a Unix socket's file.

    `::` is both internet protocols, each with a socket of its own, so that IPv4 clients keep their addresses.
    Raises OSError naming the address.
    """
    if address.path:
        one = _unix_socket(address.path, mode)
        return Bound((one,), [("unix:" + address.path, 0)], SocketFile.at(address.path))
    try:
        for _ in range(_TRIES):
            try:
                sockets = _tcp_sockets(address, reuse_port)
                break
            except OSError as error:
                if address.port or error.errno != errno.EADDRINUSE:
                    raise
        else:
            raise OSError(errno.EADDRINUSE, "no port is free on all of its addresses")
    except OSError as error:
        where = shown(address.host, address.port)
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror or error}") from error
    return Bound(tuple(sockets), [one.getsockname()[:2] for one in sockets])


def _tcp_sockets(address: Address, reuse_port: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for family, place in _places(address):
            one = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.setblocking(False)
            one.bind((place[0], port, *place[2:]))
            port = one.getsockname()[1]  # the system's choice for the first is everybody's
            one.listen(BACKLOG)
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def _places(address: Address) -> list[tuple[int, tuple[Any, ...]]]:
    """Families and socket addresses, IPv4 first where the host is a name or every interface."""
    flags = socket.AI_PASSIVE
    hosts = [address.host]
    if address.host in ("", "::") and not address.family:
        hosts = ["0.0.0.0", "::"] if socket.has_ipv6 and _speaks_ipv6() else ["0.0.0.0"]
    found = [
        one
        for host in hosts
        for one in socket.getaddrinfo(host, address.port, address.family, socket.SOCK_STREAM, 0, flags)
    ]
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


def _speaks_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def make_way(path: str) -> None:
    """Remove the file of a Unix socket on which nobody listens any more.

    Raises OSError where somebody does, or where the file is something else.
    """
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.EEXIST, f"cannot listen on unix:{path}: there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody listens
    raise OSError(errno.EADDRINUSE, f"cannot listen on unix:{path}: another process listens there")


def _unix_socket(path: str, mode: int) -> socket.socket:
    size = len(os.fsencode(path))
    if not os.path.isabs(path) or size > _LONGEST_PATH:
        text = f"expected an absolute path of at most {_LONGEST_PATH} bytes (it has {size})"
        raise OSError(errno.EINVAL, f"cannot listen on unix:{path}: {text}")
    try:
        make_way(path)
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(one.fileno(), mode)  # before the file is there: nobody finds it with other permissions
            one.setblocking(False)
            one.bind(path)
            os.chmod(path, mode)  # where the system did not take over what the socket had, or the umask hid bits
            one.listen(BACKLOG)
        except BaseException:
            one.close()
            raise
    except OSError as error:
        text = error.strerror or str(error)
        known = text.startswith("cannot listen")
        raise OSError(error.errno, text if known else f"cannot listen on unix:{path}: {text}") from error
    return one
