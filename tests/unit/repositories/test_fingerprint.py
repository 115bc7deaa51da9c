"""Which versions a difference between two looks at a model concerns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.repositories.fingerprint import Changes, changed_versions, version_number

PATHS = st.sampled_from(
    ["config.pbtxt", "1", "1/a", "1/b/c", "2/a", "02/a", "labels/1/a", "10/a", "9223372036854775807/a", "x/y"]
)
FILES = st.dictionaries(PATHS, st.sampled_from(["p", "q"]))


@pytest.mark.parametrize(
    ("name", "number"),
    [("1", 1), ("10", 10), ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None), ("9" * 5000, None)]
    + [(name, None) for name in ("", "0", "01", "-1", "+1", "1.0", " 1", "1 ", "1_0", "v1", "²", "٣", "0x1", "1\n")],
)
def test_names_of_versions(name: str, number: int | None) -> None:
    assert version_number(name) == number


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, Changes(False, frozenset())),
        ({"1/a": "p"}, {"1/a": "p"}, Changes(False, frozenset())),
        ({"1/a": "p", "2/a": "p"}, {"1/a": "q", "2/a": "p"}, Changes(False, frozenset({1}))),
        ({"1/a": "p"}, {"1/a": "p", "3/x/y": "p"}, Changes(False, frozenset({3}))),
        ({"1/a": "p", "2/a": "p"}, {"1/a": "p"}, Changes(False, frozenset({2}))),
        ({"config.pbtxt": "p", "1/a": "p"}, {"config.pbtxt": "q", "1/a": "p"}, Changes(True, frozenset())),
        ({"1/a": "p"}, {"01/a": "p", "1/a": "p"}, Changes(True, frozenset())),
        ({"1": "p"}, {}, Changes(True, frozenset())),
        ({"1/a": "p"}, {"labels/1/a": "p"}, Changes(True, frozenset({1}))),
    ],
)
def test_what_changed(old: dict[str, str], new: dict[str, str], expected: Changes) -> None:
    assert changed_versions(old, new) == expected
    assert bool(expected) == (old != new)


@given(FILES, FILES)
def test_a_difference_is_found_exactly_where_there_is_one(old: dict[str, str], new: dict[str, str]) -> None:
    changes = changed_versions(old, new)
    assert changes == changed_versions(new, old)
    assert bool(changes) == (old != new)
    for number in (1, 2, 10, 2**63 - 1):
        before, after = ({p: t for p, t in one.items() if p.startswith(f"{number}/")} for one in (old, new))
        assert (number in changes.versions) == (before != after)
