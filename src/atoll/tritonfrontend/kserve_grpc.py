"""gRPC of an in-process server."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Final

from atoll.tritonfrontend.checking import check
from atoll.tritonfrontend.service import Service

_INT32 = (0, 2**31 - 1)
_POSITIVE = (1, 2**31 - 1)

OWN_THREAD_COUNT: Final = 2
"""See kserve_http.py."""


class Grpc_compression_level(IntEnum):  # noqa: N801 - the package's own name
    """How hard answers are compressed."""

    NONE = 0
    LOW = 1
    MED = 2
    HIGH = 3


_LEVELS = ("none", "low", "medium", "high")


@dataclass
class GrpcOptions:
    """Times are in milliseconds; certificates and keys are files, PEM. `infer_thread_count`: event loops.

    `infer_allocation_pool_size` and `max_response_pool_size` are accepted and change nothing. Port 0 lets the system
    choose. Raises InvalidArgumentError.
    """

    address: str = "0.0.0.0"
    port: int = 8001
    reuse_port: bool = False
    use_ssl: bool = False
    server_cert: str = ""
    server_key: str = ""
    root_cert: str = ""
    use_mutual_auth: bool = False
    keepalive_time_ms: int = 7_200_000
    keepalive_timeout_ms: int = 20_000
    keepalive_permit_without_calls: bool = False
    http2_max_pings_without_data: int = 2
    http2_min_recv_ping_interval_without_data_ms: int = 300_000
    http2_max_ping_strikes: int = 2
    max_connection_age_ms: int = 0
    max_connection_age_grace_ms: int = 0
    infer_compression_level: int | Grpc_compression_level = 0
    infer_thread_count: int = OWN_THREAD_COUNT
    infer_allocation_pool_size: int = 8
    max_response_pool_size: int = 2_147_483_647
    forward_header_pattern: str = ""

    def __post_init__(self) -> None:
        check(
            self,
            port=(0, 65535),
            keepalive_time_ms=_POSITIVE,
            keepalive_timeout_ms=_POSITIVE,
            http2_max_pings_without_data=_INT32,
            http2_min_recv_ping_interval_without_data_ms=_INT32,
            http2_max_ping_strikes=_INT32,
            max_connection_age_ms=_INT32,
            max_connection_age_grace_ms=_INT32,
            infer_compression_level=(0, 3),
            infer_thread_count=(2, 128),
            infer_allocation_pool_size=_INT32,
            max_response_pool_size=_INT32,
        )

    def listen_options(self) -> dict[str, Any]:
        """See `ServiceOptions`."""
        return {
            "allow_grpc": True,
            "grpc_address": self.address,
            "grpc_port": self.port,
            "reuse_grpc_port": self.reuse_port,
            "grpc_use_ssl": self.use_ssl,
            "grpc_use_ssl_mutual": self.use_mutual_auth,
            "grpc_server_cert": self.server_cert,
            "grpc_server_key": self.server_key,
            "grpc_root_cert": self.root_cert,
            "grpc_keepalive_time": self.keepalive_time_ms,
            "grpc_keepalive_timeout": self.keepalive_timeout_ms,
            "grpc_keepalive_permit_without_calls": self.keepalive_permit_without_calls,
            "grpc_http2_max_pings_without_data": self.http2_max_pings_without_data,
            "grpc_http2_min_recv_ping_interval_without_data": self.http2_min_recv_ping_interval_without_data_ms,
            "grpc_http2_max_ping_strikes": self.http2_max_ping_strikes,
            "grpc_max_connection_age": self.max_connection_age_ms,
            "grpc_max_connection_age_grace": self.max_connection_age_grace_ms,
            "grpc_infer_response_compression_level": _LEVELS[self.infer_compression_level],
            "grpc_infer_thread_count": 0 if self.infer_thread_count == OWN_THREAD_COUNT else self.infer_thread_count,
            "grpc_header_forward_pattern": self.forward_header_pattern,
        }


class KServeGrpc(Service):
    """Beside the protocol it serves Triton's extensions, as `atoll serve` does without options."""

    Options: ClassVar[Any] = GrpcOptions
    Grpc_compression_level: ClassVar[Any] = Grpc_compression_level
    name = "KServeGrpc"
