"""The W3C trace context that a client sends with a request: read strictly, handed on as it came.

Rules of https://www.w3.org/TR/trace-context-1/: what breaks them is as if it had not been sent.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
MAX_MEMBERS = 32
MAX_STATE = 16_384  # characters of a tracestate that is looked at; 32 members have at most 16,447

_PARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
)
_KEY = re.compile(r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}")
_VALUE = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_LONGEST_PARENT = 512


@dataclass(frozen=True)
class TraceContext:
    """Where a request stands in its client's trace. `tracestate` is "" where there is none."""

    traceparent: str
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def parent_id(self) -> str:
        """The client's span: 16 hexadecimal digits."""
        return self.traceparent[36:52]

    @property
    def sampled(self) -> bool:
        """Whether the client records its own part of the trace."""
        return bool(int(self.traceparent[53:55], 16) & 1)

    @cached_property
    def text(self) -> str:
        """The headers as a JSON object: what a Python model's `get_context` returns."""
        headers = {TRACEPARENT: self.traceparent}
        if self.tracestate:
            headers[TRACESTATE] = self.tracestate
        return json.dumps(headers, separators=(",", ":"))


def read_context(headers: Iterable[tuple[str, str | bytes]]) -> TraceContext | None:
    """Of headers whose names are in lower case; None where no valid traceparent is among them, or more than one."""
    parents: list[str] = []
    states: list[str] = []
    for name, value in headers:
        if isinstance(value, str):
            if name == TRACEPARENT:
                parents.append(value)
            elif name == TRACESTATE:
                states.append(value)
    if len(parents) != 1:
        return None
    parent = checked_parent(parents[0])
    return None if parent is None else TraceContext(parent, checked_state(states))


def context_of_text(text: object) -> TraceContext | None:
    """What `TraceContext.text` gave; None for anything else."""
    if not isinstance(text, str) or len(text) > 2 * MAX_STATE:
        return None
    try:
        headers = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(headers, dict):
        return None
    return read_context((str(name).lower(), value) for name, value in headers.items() if isinstance(value, str))


def checked_parent(value: str) -> str | None:
    """A traceparent in the form of version 00; None for one that breaks the rules.

    A later version may say more behind the four fields that are known; that is left out, as it is not known here.
    """
    value = value.strip(" \t")
    found = _PARENT.match(value[:_LONGEST_PARENT])
    if found is None or found["version"] == "ff" or not found["trace"].strip("0") or not found["parent"].strip("0"):
        return None
    rest = value[found.end() :]
    if found["version"] == "00":
        return None if rest else value
    if rest and not rest.startswith("-"):
        return None
    return f"00-{found['trace']}-{found['parent']}-{int(found['flags'], 16) & 1:02x}"


def checked_state(values: Iterable[str]) -> str:
    """The lists of all tracestate headers as one; "" where any of them breaks the rules."""
    combined = ",".join(values)
    if len(combined) > MAX_STATE:
        return ""
    members: dict[str, str] = {}
    for member in combined.split(","):
        member = member.strip(" \t")
        if not member:
            continue
        key, equals, value = member.partition("=")
        if not equals or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value) or key in members:
            return ""
        members[key] = value
    if len(members) > MAX_MEMBERS:
        return ""
    return ",".join(f"{key}={value}" for key, value in members.items())
