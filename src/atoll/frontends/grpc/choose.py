"""Which gRPC transport runs here, and why."""

from typing import Literal

from atoll.errors import MissingExtraError
from atoll.frontends.grpc.grpcio_transport import GrpcioTransport
from atoll.frontends.grpc.transport import Transport

TransportName = Literal["auto", "nghttp2", "grpcio"]

_HOW_TO_BUILD = (
    "install the system's libnghttp2-dev (Debian, Ubuntu) or libnghttp2-devel (Fedora), a C compiler and Python's "
    "headers, then install Atoll from its source again with `pip install .`, or install a wheel made by scripts/wheel"
)


def choose_transport(name: TransportName) -> tuple[type[Transport], str]:
    """The class to make a transport of, and one line for the start-up log.

    `auto` takes nghttp2 where its extension can be imported. ValueError for another name; MissingExtraError,
    saying what to do, if nghttp2 is demanded and not there.
    """
    if name not in ("auto", "nghttp2", "grpcio"):
        raise ValueError(f"unknown gRPC transport '{name}': expected auto, nghttp2 or grpcio")
    if name == "grpcio":
        return (
            GrpcioTransport,
            "gRPC transport: grpcio, as asked for; nghttp2 is the faster one where it can be had",
        )
    try:
        from atoll.frontends.grpc.nghttp2.transport import (
            Nghttp2Transport,
            library_version,
        )
    except ImportError as missing:
        if name == "nghttp2":
            text = f"the nghttp2 gRPC transport cannot be loaded ({missing}): {_HOW_TO_BUILD}"
            raise MissingExtraError(text) from missing
        reason = f"nghttp2, about five times faster, cannot be loaded ({missing}): {_HOW_TO_BUILD}"
        return GrpcioTransport, f"gRPC transport: grpcio, because {reason}"
    return Nghttp2Transport, f"gRPC transport: nghttp2 (libnghttp2 {library_version()})"
