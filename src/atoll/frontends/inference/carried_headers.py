"""What a request's headers bring along for the model: forwarded ones, its trace context, and the wish for load metrics.

Over HTTP this is found out once for a head, which clients send again and again.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from atoll.errors import InvalidArgumentError
from atoll.observability.tracing.context import TraceContext, read_context
from atoll.request import InferenceRequest

LONGEST_NAME: Final = 256  # of a header that is forwarded: a pattern may take long with a long one
# Parameters by these names are the sequence's, which no header may change.
RESERVED: Final = frozenset({"sequence_id", "sequence_start", "sequence_end"})

_POSIX = {
    "[:alnum:]": "0-9A-Za-z",
    "[:alpha:]": "A-Za-z",
    "[:digit:]": "0-9",
    "[:lower:]": "a-z",
    "[:space:]": r"\t\n\v\f\r ",
    "[:upper:]": "A-Z",
    "[:word:]": "0-9A-Za-z_",
    "[:xdigit:]": "0-9A-Fa-f",
}


@dataclass(frozen=True, slots=True)
class CarriedHeaders:
    """`parameters` by the headers' names, as the client wrote them. `load_metrics`: json, text, or "" for none."""

    parameters: Mapping[str, str]
    context: TraceContext | None
    load_metrics: str = ""

    def give(self, request: InferenceRequest) -> None:
        """Add the parameters to the request's own. A header wins over a parameter, as in the real server."""
        if self.parameters:
            request.parameters = {**(request.parameters or {}), **self.parameters}


class HeaderReader:
    """`pattern`: a regular expression that is looked for in headers' names, whatever their case; "": none is forwarded.
    `withheld`: names in lower case that are not forwarded even so.

    Raises InvalidArgumentError, naming the option, for one that cannot be read.
    """

    def __init__(self, pattern: str = "", option: str = "", withheld: frozenset[str] = frozenset()):
        self._withheld = RESERVED | withheld
        self._search = None if not pattern else _compiled(pattern, option).search

    def read_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> CarriedHeaders | None:
        """The same of a gRPC call's metadata, whose names are in lower case: looked at for each call."""
        if self._search is None:
            for name, _ in metadata:
                if name == "traceparent":
                    break
            else:
                return None
        return self.read(metadata)

    def read(self, headers: Iterable[tuple[str, str | bytes]]) -> CarriedHeaders | None:
        """None where none of them is for a model."""
        parameters: dict[str, str] = {}
        traced: list[tuple[str, str | bytes]] = []
        load_metrics = ""
        search = self._search
        for written, value in headers:
            name = written.lower()
            if name in ("traceparent", "tracestate"):
                traced.append((name, value))
            elif name == "endpoint-load-metrics-format" and value in ("json", "text"):
                load_metrics = str(value)
            if search is None or not isinstance(value, str) or len(name) > LONGEST_NAME or name in self._withheld:
                continue
            if search(written) is not None:
                parameters[written] = value
        context = read_context(traced) if traced else None
        if not parameters and context is None and not load_metrics:
            return None
        return CarriedHeaders(parameters, context, load_metrics)


def _compiled(pattern: str, option: str) -> re.Pattern[str]:
    """In tritonserver such patterns have the syntax of RE2; what differs from Python's and is in use is translated."""
    text = pattern.replace(r"\z", r"\Z")
    for name, members in _POSIX.items():
        text = text.replace(name, members)
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise InvalidArgumentError(
            f"--{option}={pattern}: this is no regular expression: {error}; an example is x-user-.*|x-tenant"
        ) from None
