"""Which web pages may use control endpoints: those that this server itself would have served, and no others.

A browser lets any page send a POST to localhost; what it always adds is the page's Origin. A page whose host name was
made to point here (DNS rebinding) has an Origin that matches Host, so a name that is not ours counts as foreign.
"""

import ipaddress
from urllib.parse import urlsplit


def is_foreign(origin: str, host: str) -> bool:
    """Whether a request with these Origin and Host headers comes from somebody else's page."""
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
        return parts.scheme not in ("http", "https") or parts.netloc.lower() != host.lower() or not _is_ours(name)
    except ValueError:
        return True


def _is_ours(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
