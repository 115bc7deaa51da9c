"""The API key in a request's headers or metadata. Nothing here keeps or repeats one."""

import re
from collections.abc import Iterable

from atoll.errors import UnauthenticatedError

KEY_HEADERS = frozenset({"authorization", "x-api-key"})
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]{1,512}=*")  # RFC 6750, section 2.1
_HOW = "send it as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'"


def token_of(headers: Iterable[tuple[str, str | bytes]]) -> str:
    """The key; names are lower-case. Raises UnauthenticatedError where there is none, or more than one.

    Two different keys are refused rather than one of them chosen: a proxy in front might have looked at the other.
    """
    found = ""
    for name, value in headers:
        if name == "x-api-key":
            token = str(value).strip()
        elif name == "authorization":
            scheme, _, token = str(value).strip().partition(" ")
            if scheme.lower() != "bearer":
                continue
            token = token.strip()
        else:
            continue
        if not _TOKEN.fullmatch(token):
            raise UnauthenticatedError(f"the API key is not one: {_HOW}, as `atoll key` printed it")
        if found and token != found:
            raise UnauthenticatedError("the request has two different API keys: send one")
        found = token
    if not found:
        raise UnauthenticatedError(f"an API key is needed here: {_HOW}")
    return found
