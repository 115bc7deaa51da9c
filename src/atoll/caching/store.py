"""The server's cache, whichever it is: answers in and out, its failures kept from requests, and what is counted."""

import logging
import threading
from dataclasses import dataclass
from time import monotonic_ns

from atoll.caching.api import ResponseCache
from atoll.caching.codec import UnfitError, decode, encode
from atoll.request import Parameter
from atoll.tensor import Tensor

logger = logging.getLogger(__name__)

WARNING_NS = 30_000_000_000  # between two warnings of one kind
FIRST_REST_NS = 500_000_000  # for which a blocking cache that has failed is not asked; doubles while it goes on failing
LONGEST_REST_NS = 10_000_000_000

Answer = tuple[list[Tensor], dict[str, Parameter]]


@dataclass(frozen=True, slots=True)
class CacheReading:
    """What has been counted so far, of all models together. The last three are of caches that can say so, else 0."""

    hits: int
    misses: int
    lookup_ns: int
    insertion_ns: int
    utilization: float = 0.0
    entries: int = 0
    evictions: int = 0


class _Rest:
    """For how long something that has failed is left alone, and when its failure may be told again."""

    __slots__ = ("length_ns", "told_ns", "until_ns", "untold")

    def __init__(self) -> None:
        self.length_ns = 0
        self.until_ns = 0
        self.told_ns = 0
        self.untold = 0

    def begin(self, now_ns: int) -> None:
        if now_ns < self.until_ns:
            return  # others that had begun before
        self.length_ns = min(max(self.length_ns * 2, FIRST_REST_NS), LONGEST_REST_NS)
        self.until_ns = now_ns + self.length_ns

    def end(self) -> None:
        self.length_ns = self.until_ns = 0

    def may_tell(self, now_ns: int) -> int:
        """0, or how many times it has happened since it was told."""
        self.untold += 1
        if self.told_ns and now_ns - self.told_ns < WARNING_NS:
            return 0
        self.told_ns = now_ns
        times, self.untold = self.untold, 0
        return times


class ResponseStore:
    """Never raises: a cache that fails is a cache that has nothing. Thread-safe. Owns the cache."""

    def __init__(self, name: str, cache: ResponseCache, ttl_s: float = 0.0):
        self.name = name
        self.ttl_s = ttl_s
        self.blocks = bool(cache.blocks)
        self.shared = bool(cache.shared)
        self._cache = cache
        self._largest_entry = int(getattr(cache, "largest_entry", 0))  # 0: any
        self._lock = threading.Lock()
        self._lookups = _Rest()
        self._inserts = _Rest()
        self._unfit = _Rest()
        self._hits = 0
        self._misses = 0
        self._lookup_ns = 0
        self._insertion_ns = 0

    @property
    def rests(self) -> bool:
        """Whether it has failed a moment ago, and is not asked."""
        until_ns = self._lookups.until_ns
        return until_ns != 0 and monotonic_ns() < until_ns

    def lookup(self, key: str) -> Answer | None:
        """The answer under this key."""
        if self.rests:
            return None
        begin_ns = monotonic_ns()
        found: Answer | None = None
        try:
            entry = self._cache.lookup(key)
            if entry is not None:
                found = decode(entry, trusted=not self.shared)
            if self._lookups.length_ns:
                self._lookups.end()
        except UnfitError as error:
            self._tell(self._unfit, "an entry is none of ours, and counts as a miss", error)
        except Exception as error:
            if self.blocks:
                self._lookups.begin(monotonic_ns())
            self._tell(self._lookups, "a lookup failed, and requests are served without it", error)
        taken_ns = monotonic_ns() - begin_ns
        with self._lock:
            self._lookup_ns += taken_ns
            if found is None:
                self._misses += 1
            else:
                self._hits += 1
        return found

    def insert(self, key: str, outputs: list[Tensor], parameters: dict[str, Parameter], ttl_s: float) -> None:
        """Keep an answer, unless it cannot be kept."""
        if self.rests or (self.blocks and monotonic_ns() < self._inserts.until_ns):
            return
        begin_ns = monotonic_ns()
        try:
            self._cache.insert(key, encode(outputs, parameters, self._largest_entry), ttl_s)
            if self._inserts.length_ns:
                self._inserts.end()
        except UnfitError as error:
            self._tell(self._unfit, "an answer is not kept", error)
        except Exception as error:
            if self.blocks:
                self._inserts.begin(monotonic_ns())
            self._tell(self._inserts, "an answer could not be kept", error)
        taken_ns = monotonic_ns() - begin_ns
        with self._lock:
            self._insertion_ns += taken_ns

    def _tell(self, rest: _Rest, what: str, error: Exception) -> None:
        with self._lock:
            times = rest.may_tell(monotonic_ns())
        if times:
            often = f" ({times} times since this was last said)" if times > 1 else ""
            logger.warning(
                "response cache '%s': %s%s: %s: %s", self.name, what, often, type(error).__name__, str(error)[:500]
            )

    def reading(self) -> CacheReading:
        """The numbers now."""
        usage = getattr(self._cache, "usage", None)
        size = getattr(self._cache, "size", 0)
        used, entries, evictions = usage() if usage is not None else (0, 0, 0)
        with self._lock:
            return CacheReading(
                self._hits,
                self._misses,
                self._lookup_ns,
                self._insertion_ns,
                used / size if size else 0.0,
                entries,
                evictions,
            )

    def close(self) -> None:
        """Free the cache."""
        try:
            self._cache.close()
        except Exception:
            logger.exception("response cache '%s' could not be closed in whole", self.name)
