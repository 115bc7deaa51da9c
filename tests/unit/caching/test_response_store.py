"""The server's cache: what fails in it is a miss, is said now and then, and is left alone for a while."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from atoll.caching import store as store_room
from atoll.caching.api import Entry
from atoll.caching.local import LocalCache
from atoll.caching.store import FIRST_REST_NS, LONGEST_REST_NS, WARNING_NS, ResponseStore
from atoll.tensor import Tensor

OUTPUTS = [Tensor.from_numpy("OUT", np.array([1, 2], np.int32))]


class Cache:
    """A dict that fails when told to, and counts what it was asked."""

    def __init__(self, *, blocks: bool = True, shared: bool = True) -> None:
        self.blocks = blocks
        self.shared = shared
        self.entries: dict[str, Entry] = {}
        self.fails = False
        self.asked = 0

    def lookup(self, key: str) -> Entry | None:
        self._ask()
        return self.entries.get(key)

    def insert(self, key: str, entry: bytes, ttl_s: float) -> None:
        self._ask()
        self.entries[key] = entry

    def _ask(self) -> None:
        self.asked += 1
        if self.fails:
            raise OSError("gone")

    def close(self) -> None:
        self._ask()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Time that passes when told to."""
    now = [1_000_000_000]
    monkeypatch.setattr(store_room, "monotonic_ns", lambda: now[0])

    def wait(ns: int) -> None:
        now[0] += ns

    return wait


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_is_kept_comes_back() -> None:
    store = ResponseStore("local", LocalCache({"size": "1MiB"}))
    assert store.lookup("a") is None
    store.insert("a", OUTPUTS, {"p": 1}, 0)
    found = store.lookup("a")
    assert found is not None
    (output,), parameters = found
    assert (output.name, output.array().tolist(), parameters) == ("OUT", [1, 2], {"p": 1})
    reading = store.reading()
    assert (reading.hits, reading.misses, reading.entries, reading.evictions) == (1, 1, 1, 0)
    assert 0 < reading.utilization < 0.01
    store.close()


def test_a_blocking_cache_that_fails_is_left_alone_longer_each_time(
    clock: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache()
    store = ResponseStore("c", cache)
    cache.fails = True
    rest_ns = FIRST_REST_NS
    for _ in range(8):
        asked = cache.asked
        assert store.lookup("a") is None
        assert cache.asked == asked + 1
        assert store.rests
        assert store.lookup("a") is None
        store.insert("a", OUTPUTS, {}, 0)
        clock(rest_ns - 1)
        assert store.rests
        assert store.lookup("a") is None
        assert cache.asked == asked + 1
        clock(1)
        assert not store.rests
        rest_ns = min(2 * rest_ns, LONGEST_REST_NS)
    cache.fails = False
    store.insert("a", OUTPUTS, {}, 0)
    assert store.lookup("a") is not None
    cache.fails = True
    store.lookup("a")
    clock(FIRST_REST_NS)  # it has worked meanwhile: the first rest is short again
    assert not store.rests


def test_a_cache_that_only_cannot_be_written_to_is_read_on(clock: Callable[[int], None]) -> None:
    cache = Cache()
    store = ResponseStore("c", cache)
    store.insert("a", OUTPUTS, {}, 0)
    cache.fails = True
    store.insert("b", OUTPUTS, {}, 0)
    asked = cache.asked
    store.insert("b", OUTPUTS, {}, 0)
    assert cache.asked == asked
    cache.fails = False
    assert store.lookup("a") is not None


def test_a_cache_in_memory_that_fails_is_asked_on(clock: Callable[[int], None]) -> None:
    cache = Cache(blocks=False)
    store = ResponseStore("c", cache)
    cache.fails = True
    assert store.lookup("a") is None
    cache.fails = False
    store.insert("a", OUTPUTS, {}, 0)
    assert store.lookup("a") is not None


def test_failures_are_said_now_and_then(clock: Callable[[int], None], caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(blocks=False)
    store = ResponseStore("c", cache)
    cache.fails = True
    for _ in range(5):
        store.lookup("a")
    clock(WARNING_NS)
    store.lookup("a")
    said = warnings(caplog)
    assert len(said) == 2
    assert said[0] == "response cache 'c': a lookup failed, and requests are served without it: OSError: gone"
    assert "(5 times since this was last said)" in said[1]


def test_bytes_of_somebody_else_are_a_miss(caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache()
    store = ResponseStore("c", cache)
    for data in (b"", b"x", bytes(100), memoryview(b"AtC1" + b"\xff" * 20)):
        cache.entries["a"] = data
        assert store.lookup("a") is None
    assert not store.rests
    assert store.reading().misses == 4
    assert len(warnings(caplog)) == 1


def test_a_cache_that_returns_what_it_must_not_is_a_miss() -> None:
    cache = Cache()
    entries: Any = cache.entries
    for wrong in ("text", 7, [1]):
        entries["a"] = wrong
        assert ResponseStore("c", cache).lookup("a") is None


def test_an_answer_that_is_too_large_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    store = ResponseStore("local", LocalCache({"size": "2048"}))
    store.insert("a", [Tensor.from_numpy("OUT", np.zeros(4096, np.uint8))], {}, 0)
    assert store.reading().entries == 0
    (said,) = warnings(caplog)
    assert "an answer is not kept" in said
    assert "1536 is the most" in said


def test_a_cache_that_cannot_be_closed_is_left() -> None:
    cache = Cache()
    cache.fails = True
    ResponseStore("c", cache).close()
    assert cache.asked == 1
