"""HTTP/REST of an in-process server."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from atoll.tritonfrontend.checking import check
from atoll.tritonfrontend.service import Service

OWN_THREAD_COUNT: Final = 8
"""The package's default stands for ours: one loop, as Python runs one thread at a time."""


@dataclass
class HttpOptions:
    """`thread_count`: event loops. `header_forward_pattern`: which headers are given to models as parameters, as a
    regular expression. Port 0 lets the system choose. Raises InvalidArgumentError.
    """

    address: str = "0.0.0.0"
    port: int = 8000
    reuse_port: bool = False
    thread_count: int = OWN_THREAD_COUNT
    header_forward_pattern: str = ""

    def __post_init__(self) -> None:
        check(self, port=(0, 65535), thread_count=(1, 256))

    def listen_options(self) -> dict[str, Any]:
        """See `ServiceOptions`."""
        return {
            "allow_http": True,
            "http_address": self.address,
            "http_port": self.port,
            "reuse_http_port": self.reuse_port,
            "http_thread_count": 0 if self.thread_count == OWN_THREAD_COUNT else self.thread_count,
            "http_header_forward_pattern": self.header_forward_pattern,
        }


class KServeHttp(Service):
    """Beside the protocol it serves Triton's extensions, as `atoll serve` does without options."""

    Options: ClassVar[Any] = HttpOptions
    name = "KServeHttp"
