"""Free memory: no piece overlaps another, and what is given back can be taken again, as one."""

from hypothesis import given
from hypothesis import strategies as st

from atoll.memory_region import HOLES_LOOKED_AT, MemoryRegion

UNIT = 64


@given(st.integers(0, 4000), st.lists(st.tuples(st.booleans(), st.integers(0, 700)), max_size=200))
def test_pieces_in_use_never_overlap(byte_size: int, steps: list[tuple[bool, int]]) -> None:
    region = MemoryRegion(byte_size, UNIT)
    live: list[tuple[int, int]] = []
    for gives, number in steps:
        if gives and live:
            region.give(*live.pop(number % len(live)))
            continue
        taken = region.take(number)
        if taken is None:
            continue
        start, end = taken
        assert start % UNIT == 0
        assert 0 <= start < end <= byte_size
        assert number <= end - start < max(number, 1) + UNIT
        assert all(end <= other_start or other_end <= start for other_start, other_end in live)
        live.append(taken)
        assert region.used == sum(e - s for s, e in live)
    for piece in live:
        region.give(*piece)
    whole = byte_size - byte_size % UNIT
    assert region.used == 0
    assert region.take(whole) == ((0, whole) if whole else None)


def test_what_does_not_fit_is_refused() -> None:
    region = MemoryRegion(1000, UNIT)  # 15 units
    assert region.take(961) is None
    assert region.take(960) == (0, 960)
    assert region.take(0) is None


def test_low_addresses_are_used_again_first() -> None:
    region = MemoryRegion(64 * UNIT, UNIT)
    pieces = [region.take(UNIT) for _ in range(10)]
    for piece in (pieces[7], pieces[2]):
        assert piece is not None
        region.give(*piece)
    assert region.take(UNIT) == pieces[2]


def test_many_holes_do_not_hide_what_was_never_used() -> None:
    count = 4 * HOLES_LOOKED_AT
    region = MemoryRegion((count + 10) * UNIT, UNIT)
    pieces = [region.take(UNIT) for _ in range(count)]
    for piece in pieces[::2]:
        assert piece is not None
        region.give(*piece)
    assert region.take(2 * UNIT) == (count * UNIT, (count + 2) * UNIT)
    assert region.take(11 * UNIT) is None
