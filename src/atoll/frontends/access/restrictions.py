"""APIs that are answered only to who sends a header with an agreed value: tritonserver's restricted APIs."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import TypeAlias

from atoll.errors import InvalidArgumentError
from atoll.frontends.apis import Api

logger = logging.getLogger(__name__)

RESTRICTABLE = {
    one.value: one
    for one in (
        *(Api.HEALTH, Api.METADATA, Api.INFERENCE, Api.SHARED_MEMORY, Api.MODEL_CONFIG),
        *(Api.MODEL_REPOSITORY, Api.STATISTICS, Api.TRACE, Api.LOGGING),
    )
}
"""Those that tritonserver can restrict, by name."""
_ON_HTTP = {**RESTRICTABLE, Api.DASHBOARD.value: Api.DASHBOARD}
GRPC_PREFIX = "triton-grpc-protocol-"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # what a header's name may be made of: RFC 9110, section 5.6.2


@dataclass(frozen=True, slots=True)
class Restriction:
    """A header and the value that it must have. `header` is as the option has it, behind the prefix."""

    header: str
    value: bytes

    @property
    def name(self) -> str:
        """The header's name as it arrives: in lower case."""
        return self.header.lower()

    def admits(self, value: bytes | None) -> bool:
        """Whether this is the header's value; None: it was not sent. Where it was sent twice the first one counts.

        Takes as long for a nearly right value as for any other of its length.
        """
        return value is not None and compare_digest(value, self.value)


Restrictions: TypeAlias = Mapping[Api, Restriction]


def http_restrictions(words: Iterable[str]) -> Restrictions:
    """From the values of --http-restricted-api. The dashboard shows statistics: unless it has a secret of its own, it
    asks for theirs. Raises InvalidArgumentError.
    """
    found = _read("--http-restricted-api", "api", words, "", _ON_HTTP)
    if Api.STATISTICS in found:
        found.setdefault(Api.DASHBOARD, found[Api.STATISTICS])
    return found


def grpc_restrictions(words: Iterable[str]) -> Restrictions:
    """From the values of --grpc-restricted-protocol. Raises InvalidArgumentError."""
    return _read("--grpc-restricted-protocol", "protocol", words, GRPC_PREFIX, RESTRICTABLE)


def _read(
    option: str, kind: str, words: Iterable[str], prefix: str, known: Mapping[str, Api]
) -> dict[Api, Restriction]:
    found: dict[Api, Restriction] = {}
    for word in words:
        names, _, setting = word.partition(":")
        key, _, value = setting.partition("=")
        if not (names and key and value):
            raise InvalidArgumentError(
                f"{option} option format is '<config name>:<setting>=<value>'. Got {word}. Expected names of "
                f"{kind}s, a header and its value, such as {option}=health,metadata:{kind}-key=secret"
            )
        if not _TOKEN.fullmatch(key):
            logger.warning(
                "%s: '%s' is no name that a header can have: nobody can use what it restricts (%s)",
                option,
                key,
                names,
            )
        for name in names.split(","):
            api = known.get(name)
            if api is None:
                raise InvalidArgumentError(
                    f"unknown restricted {kind} '{name}' in {option}={names}:...: expected "
                    f"{', '.join(known)}, with commas and no spaces between them"
                )
            if api in found:
                raise InvalidArgumentError(
                    f"restricted {kind} '{name}' can not be specified in multiple config groups: "
                    f"name it once in all that is given for {option}"
                )
            found[api] = Restriction(prefix + key, value.encode("utf-8", "surrogateescape"))
    return found
