"""The cache in memory: what is in it, for how long, and never more than its size."""

import tracemalloc
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.caching.local import ENTRY_BYTES, LocalCache
from atoll.errors import InvalidArgumentError

SECOND_NS = 1_000_000_000


class Time:
    now_ns = 5

    def __call__(self) -> int:
        return self.now_ns


def cache(room: int, time: Time | None = None) -> LocalCache:
    """One that has room for so many entries of no bytes."""
    return LocalCache({"size": str(room * ENTRY_BYTES)}, now_ns=time or Time())


keys = st.integers(0, 5).map(str)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), keys, st.integers(0, 3 * ENTRY_BYTES), st.sampled_from([0.0, 1.0, 3.0])),
        st.tuples(st.just("lookup"), keys),
        st.tuples(st.just("wait"), st.integers(0, 2 * SECOND_NS)),
    ),
    max_size=40,
)


@given(steps)
def test_it_does_what_a_simple_one_would(todo: list[Any]) -> None:
    time = Time()
    tested = cache(4, time)
    size = 4 * ENTRY_BYTES
    kept: OrderedDict[str, tuple[bytes, int]] = OrderedDict()
    for what, *rest in todo:
        if what == "wait":
            time.now_ns += rest[0]
        elif what == "insert":
            key, length, ttl_s = rest
            if length + ENTRY_BYTES <= size:
                kept.pop(key, None)
                while sum(len(data) + ENTRY_BYTES for data, _ in kept.values()) + length + ENTRY_BYTES > size:
                    kept.popitem(last=False)
                kept[key] = (bytes(length), time.now_ns + int(ttl_s * SECOND_NS) if ttl_s else 0)
            tested.insert(key, bytes(length), ttl_s)
        else:
            key = rest[0]
            found = kept.get(key)
            if found is not None and found[1] and found[1] <= time.now_ns:
                del kept[key]
                found = None
            if found is not None:
                kept.move_to_end(key)
            assert tested.lookup(key) == (None if found is None else found[0])
        used, entries, _ = tested.usage()
        assert used == sum(len(data) + ENTRY_BYTES for data, _ in kept.values()) <= size
        assert entries == len(kept)


def test_what_was_asked_for_last_stays() -> None:
    tested = cache(2)
    tested.insert("a", b"", 0)
    tested.insert("b", b"", 0)
    assert tested.lookup("a") is not None
    tested.insert("c", b"", 0)
    assert [tested.lookup(key) for key in "abc"] == [b"", None, b""]
    assert tested.usage() == (2 * ENTRY_BYTES, 2, 1)


def test_an_entry_ends_with_its_time() -> None:
    time = Time()
    tested = cache(2, time)
    tested.insert("a", b"x", 2.0)
    time.now_ns += 2 * SECOND_NS - 1
    assert tested.lookup("a") == b"x"
    time.now_ns += 1
    assert tested.lookup("a") is None
    assert tested.usage()[:2] == (0, 0)


def test_what_never_fits_pushes_nobody_out() -> None:
    tested = cache(2)
    tested.insert("a", b"x", 0)
    tested.insert("b", bytes(tested.largest_entry + 1), 0)
    assert tested.lookup("a") == b"x"
    assert tested.lookup("b") is None
    tested.insert("c", bytes(tested.largest_entry), 0)
    assert tested.lookup("c") is not None
    assert tested.lookup("a") is None


def test_entries_take_no_more_than_is_said() -> None:
    tested = LocalCache({"size": "1GiB"})
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2000):
            tested.insert(f"atoll:1:a_model:1:{number:064x}", bytes(100), 60.0)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= tested.usage()[0]


@pytest.mark.parametrize("size", ["0", "-1", "abc", "", "512", "1048576,ttl=5"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(InvalidArgumentError, match="Failed to initialize LocalCache: size"):
        LocalCache({"size": size})


def test_a_size_must_be_given_and_nothing_else() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^Failed to initialize LocalCache: config didn't contain a valid"):
        LocalCache({})
    with pytest.raises(InvalidArgumentError, match=r"sice: there is no such setting.*Did you mean 'size'"):
        LocalCache({"size": "4096", "sice": "1"})
    assert LocalCache({"size": "2MiB"}).size == 2 << 20
