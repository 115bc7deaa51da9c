"""An API key: what it opens, for which models, until when and how often."""

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import translate
from time import monotonic_ns, time

from atoll.errors import PermissionDeniedError, RateLimitedError, UnauthenticatedError
from atoll.frontends.access.rate import RateLimit, TokenBucket
from atoll.frontends.apis import Api

SCOPES: Mapping[str, frozenset[Api]] = {
    "inference": frozenset(
        (Api.HEALTH, Api.METADATA, Api.MODEL_CONFIG, Api.STATISTICS, Api.INFERENCE, Api.DOCUMENTATION)
    ),
    "admin": frozenset(Api),
    **{one.value: frozenset((one,)) for one in Api if one is not Api.INFERENCE},
}
"""What a scope opens: what a user of models needs, everything, or one API by its name."""

_ABOUT_NO_MODEL = frozenset((Api.HEALTH, Api.METADATA, Api.SHARED_MEMORY, Api.DOCUMENTATION))
_FILTERED = frozenset((Api.STATISTICS, Api.MODEL_REPOSITORY, Api.DASHBOARD))
"""Whose answers about all models leave out those that the key is not for."""

NO_OVERRIDE = "it may load what the repository holds, but bring no configuration or files of its own"
NO_DEPENDENTS = "it may unload a model, but not say anything of those that it depends on"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as the file has it. `digest`: SHA-256. `models`: globs. `expires`: Unix time in s."""

    name: str
    digest: bytes
    models: tuple[str, ...] = ("*",)
    scopes: tuple[str, ...] = ("inference",)
    rate: RateLimit | None = None
    expires: float | None = None


class Meter:
    """Counts the requests of one key, whichever thread they come on."""

    def __init__(self, rate: RateLimit):
        self.rate = rate
        self._lock = threading.Lock()
        self._bucket = TokenBucket(rate)

    def wait_s(self) -> int:
        """0: the request is counted and may go on. Otherwise in how many seconds one may."""
        with self._lock:
            wait_ns = self._bucket.take(monotonic_ns())
        return -(-wait_ns // 1_000_000_000)


class ApiKey:
    """A key in force. Thread-safe. `meter`: None where it may send as many requests as it likes."""

    def __init__(self, record: KeyRecord, predecessor: "ApiKey | None" = None):
        self.record = record
        self.name = record.name
        self._apis = frozenset[Api]().union(*(SCOPES[one] for one in record.scopes))
        self._models = None if "*" in record.models else re.compile("|".join(map(translate, record.models)))
        if predecessor is not None and predecessor.record.rate == record.rate:
            self.meter: Meter | None = predecessor.meter
        else:
            self.meter = None if record.rate is None else Meter(record.rate)

    @property
    def limited_to_models(self) -> bool:
        """There are models that it is not for."""
        return self._models is not None

    @property
    def changes_with_time(self) -> bool:
        """`admit` is to be asked for each request."""
        return self.meter is not None or self.record.expires is not None

    def opens(self, api: Api) -> bool:
        """Whether it has a scope with this API."""
        return api in self._apis

    def may_use(self, model: str) -> bool:
        """Whether the key is for this model. Only the name counts: whether there is such a model, it does not tell."""
        return self._models is None or self._models.match(model) is not None

    def check(self, api: Api, model: str = "", *, hosted: bool = False) -> None:
        """Raises PermissionDeniedError where the key does not open this. `model`: "" where the request names none.

        `hosted`: the endpoint is one of a hosting service's, whose lists leave nothing out, and whose paths do not name
        the model that is loaded or unloaded.
        """
        if api not in self._apis:
            raise PermissionDeniedError(f"the API key '{self.name}' does not have the scope '{api.value}'")
        if self._models is None:
            return
        if model and not (hosted and api is Api.MODEL_REPOSITORY):
            if self._models.match(model) is None:
                raise PermissionDeniedError(f"the API key '{self.name}' is not for model '{model}'")
        elif api not in _ABOUT_NO_MODEL and (hosted or api not in _FILTERED):
            raise PermissionDeniedError(
                f"the API key '{self.name}' is for some models only, and this concerns all of them"
            )

    def demand_all_models(self, what: str) -> None:
        """Raises PermissionDeniedError where the key is for some models only."""
        if self._models is not None:
            raise PermissionDeniedError(f"the API key '{self.name}' is for some models only: {what}")

    def admit(self) -> None:
        """One request more. Raises UnauthenticatedError once the key has expired, RateLimitedError above its rate."""
        expires = self.record.expires
        if expires is not None and time() >= expires:
            when = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            raise UnauthenticatedError(f"the API key '{self.name}' expired at {when}")
        if self.meter is None:
            return
        seconds = self.meter.wait_s()
        if seconds:
            rate = self.meter.rate
            raise RateLimitedError(
                f"the API key '{self.name}' may send {rate.requests_per_second:g} requests a second "
                f"(and {rate.burst} at once): try again in {seconds} s",
                seconds,
            )


def open_to_all(api: Api, names_model: bool) -> bool:
    """Whether this part of an exempt API is answered without a key: not whether a model is ready, and so there."""
    return api is not Api.HEALTH or not names_model


class KeyTable:
    """All keys of a file, by digest. Never changed: a new file makes a new table."""

    def __init__(self, records: Iterable[KeyRecord], predecessor: "KeyTable | None" = None):
        find = (lambda _: None) if predecessor is None else predecessor.find
        self._keys = {one.digest: ApiKey(one, find(one.digest)) for one in records}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, digest: bytes) -> ApiKey | None:
        """The key with this digest.

        That this takes longer for some digests than for others helps nobody: who can choose the digest knows the key.
        """
        return self._keys.get(digest)
