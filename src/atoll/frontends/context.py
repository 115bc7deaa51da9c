"""What all frontends of a server have in common, on whichever event loop they run: made once, handed to each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from atoll.frontends.access.control import AccessControl
from atoll.frontends.access.credentials import KEY_HEADERS
from atoll.frontends.access_log import AccessLog
from atoll.frontends.dashboard.sampler import Sampler
from atoll.frontends.inference.carried_headers import HeaderReader
from atoll.frontends.shared_memory.regions import RegionTable
from atoll.observability.logging.server_log import server_log

if TYPE_CHECKING:
    from atoll.server import Server


@dataclass(slots=True)
class FrontendContext:
    """Each field is usable from any thread. What is None is switched off, and costs a request nothing."""

    server: "Server"
    access_log: AccessLog | None = None
    access: AccessControl | None = None
    regions: RegionTable | None = None
    http_headers: HeaderReader = field(default_factory=HeaderReader)
    grpc_headers: HeaderReader = field(default_factory=HeaderReader)
    docs: bool = False
    """Whether HTTP answers /openapi.json and /docs."""
    dashboard: Sampler | None = None
    """What the page at /dashboard shows."""

    @classmethod
    def from_values(cls, server: "Server", values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name. Raises InvalidArgumentError naming an option that cannot be so."""
        access = AccessControl.from_values(values)
        access_log = AccessLog(values["access_log"]) if values.get("access_log") else None
        shared = values.get("allow_client_shm")
        regions = RegionTable(caching=server.response_cache is not None) if shared else None
        secrets = KEY_HEADERS if values.get("api_key_file") else frozenset()
        http_headers, grpc_headers = (
            HeaderReader(
                values.get(f"{protocol}_header_forward_pattern", ""), f"{protocol}-header-forward-pattern", secrets
            )
            for protocol in ("http", "grpc")
        )
        docs = bool(values.get("allow_docs"))
        dashboard = Sampler(server) if values.get("allow_dashboard") else None
        if access is not None:
            access.watch()  # last: what is refused leaves no thread behind
        return cls(server, access_log, access, regions, http_headers, grpc_headers, docs, dashboard)

    def reopen_logs(self) -> None:
        """Log rotation has moved the files away: open them anew."""
        log = server_log()
        if log is not None:
            log.reopen()
        if self.access_log is not None:
            self.access_log.reopen()

    def close(self) -> None:
        """The frontends have ended: free what they shared."""
        if self.access is not None:
            self.access.close()
        if self.access_log is not None:
            self.access_log.close()
        if self.regions is not None:
            self.regions.close()
