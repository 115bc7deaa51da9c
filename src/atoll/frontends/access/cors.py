"""Cross-origin requests of web pages: which pages may read answers, and what browsers are told before they ask.

The rules are those of the Fetch standard, section 3.2. Without --cors-allow-origin none of this is there.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from atoll.errors import InvalidArgumentError
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import Answer

ANY = "*"
DEFAULT_HEADERS = (
    *("content-type", "content-encoding", "inference-header-content-length", "atoll-deadline-seconds"),
    *("authorization", "x-api-key", "x-request-id", "traceparent", "tracestate", "endpoint-load-metrics-format"),
)
_EXPOSED = b"Inference-Header-Content-Length, Retry-After, WWW-Authenticate, X-Request-Id, Endpoint-Load-Metrics"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.\-]*://(?:[a-z0-9.\-_]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Cors:
    """`origins`: those that are named; `any_origin`: and all others. `headers`, `methods`: what a page may send."""

    origins: frozenset[str]
    any_origin: bool
    headers: str
    methods: frozenset[str]
    max_age_s: int

    def names(self, origin: str) -> bool:
        """Whether pages of this origin were named, and not only let in with all others."""
        return origin in self.origins

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may read answers."""
        return self.any_origin or origin in self.origins

    def answer_headers(self, origin: str | None) -> bytes:
        """Finished lines for each answer to this origin; None: the request named none.

        Nothing of the request is repeated that was not in the options.
        """
        vary = b"" if self.any_origin else b"Vary: Origin\r\n"
        if origin is None or not self.allows(origin):
            return vary
        allowed = (ANY if self.any_origin else origin).encode()
        return b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Expose-Headers: %b\r\n%b" % (allowed, _EXPOSED, vary)

    def preflight(self, origin: str, methods: Iterable[str]) -> Answer:
        """The answer to a browser that asks before a page's request; `methods`: those of the endpoint."""
        if not self.allows(origin):
            return answers.refusal(403, "pages of this origin may not ask: --cors-allow-origin does not name it")
        allowed = ", ".join(one for one in methods if one in self.methods)
        lines = (
            b"Access-Control-Allow-Methods: %b\r\n" % allowed.encode(),
            b"Access-Control-Allow-Headers: %b\r\n" % self.headers.encode(),
            b"Access-Control-Max-Age: %d\r\n" % self.max_age_s,
        )
        return Answer(200, [], headers=b"".join(lines))


def cors_from_values(values: Mapping[str, Any], other_headers: Iterable[str] = ()) -> Cors | None:
    """From the server's options by field name; None where no origin is allowed. `other_headers`: further names that
    pages need. Raises InvalidArgumentError.
    """
    words = values.get("cors_allow_origin")
    if not words:
        return None
    origins = frozenset(one.lower() for one in words) - {ANY}
    for one in origins:
        if not _ORIGIN.fullmatch(one):
            raise InvalidArgumentError(
                f"--cors-allow-origin={one}: expected scheme://host or scheme://host:port as browsers send it "
                "in Origin (no path, no slash at the end), or * for every page"
            )
    headers = _names("cors-allow-headers", values["cors_allow_headers"]) or [*DEFAULT_HEADERS, *other_headers]
    methods = _names("cors-allow-methods", values["cors_allow_methods"])
    return Cors(origins, ANY in words, ", ".join(headers), frozenset(methods), values["cors_max_age"])


def _names(option: str, text: str) -> list[str]:
    names = [one.strip() for one in text.split(",") if one.strip()]
    for one in names:
        if not _TOKEN.fullmatch(one):
            raise InvalidArgumentError(f"--{option}: '{one}' is no name; expected names with commas between them")
    return names
