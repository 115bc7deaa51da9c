"""The built-in cache "local": answers in this process's memory, the least recently used make room."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from time import monotonic_ns

from atoll.caching.api import Entry
from atoll.caching.settings import refuse_unknown
from atoll.config.byte_size import parse_byte_size
from atoll.errors import InvalidArgumentError

SETTINGS = ("size",)
ENTRY_BYTES = 512
"""What an entry takes beside its data: its key, its place in the order and the objects round it, rounded up."""


class _Kept:
    __slots__ = ("data", "expires_ns")

    def __init__(self, data: bytes, expires_ns: int):
        self.data = data
        self.expires_ns = expires_ns  # 0: never


class LocalCache:
    """`size`: bytes that entries may take in all, with what each takes beside its data. Thread-safe."""

    blocks = False
    shared = False

    def __init__(
        self,
        settings: Mapping[str, str],
        environment: Mapping[str, str] | None = None,
        *,
        now_ns: Callable[[], int] = monotonic_ns,
    ):
        refuse_unknown("local", settings, SETTINGS)
        text = settings.get("size")
        if text is None:
            raise InvalidArgumentError(
                "Failed to initialize LocalCache: config didn't contain a valid 'size' field. Give its bytes: "
                "--cache-config local,size=1048576"
            )
        size = parse_byte_size(text)
        if not size or size <= ENTRY_BYTES:
            raise InvalidArgumentError(
                f"Failed to initialize LocalCache: size '{text}' is no number of bytes above {ENTRY_BYTES}; give one, "
                "as in 1048576 or 256MiB, and each setting in a --cache-config of its own"
            )
        self.size = size
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # the least recently used first
        self._used = 0
        self._evictions = 0

    @property
    def largest_entry(self) -> int:
        """Bytes of the largest entry that fits, were it alone."""
        return self.size - ENTRY_BYTES

    def lookup(self, key: str) -> Entry | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            if kept.expires_ns and kept.expires_ns <= self._now_ns():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return kept.data

    def insert(self, key: str, entry: bytes, ttl_s: float) -> None:
        cost = len(entry) + ENTRY_BYTES
        if cost > self.size:
            return
        kept = _Kept(entry, self._now_ns() + int(ttl_s * 1e9) if ttl_s else 0)
        with self._lock:
            if key in self._kept:
                self._drop(key)
            while self._used + cost > self.size:
                self._drop(next(iter(self._kept)))
                self._evictions += 1
            self._kept[key] = kept
            self._used += cost

    def _drop(self, key: str) -> None:
        self._used -= len(self._kept.pop(key).data) + ENTRY_BYTES

    def usage(self) -> tuple[int, int, int]:
        """Bytes in use, entries, and how many had to make room so far."""
        with self._lock:
            return self._used, len(self._kept), self._evictions

    def close(self) -> None:
        with self._lock:
            self._kept.clear()
            self._used = 0
