"""What all frontends of a server have in common, on whichever event loop they run: made once, handed to each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from atoll.server import Server


@dataclass(slots=True)
class FrontendContext:
    """Each field is usable from any thread. What is None is switched off, and costs a request nothing."""

    server: "Server"

    @classmethod
    def from_values(cls, server: "Server", values: Mapping[str, Any]) -> Self:
        """From the server's options, by field name. Raises InvalidArgumentError naming an option that cannot be so."""
        return cls(server)

    def close(self) -> None:
        """The frontends have ended: free what they shared."""
