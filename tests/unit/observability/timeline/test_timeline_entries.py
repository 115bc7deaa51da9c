"""A trace file is read in pieces of any size; what is whole in it is found, and where it breaks is said."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies

from atoll.observability.timeline import entries as room
from atoll.observability.timeline.entries import ARRAY_END, BrokenFileError, read_entries

values = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False)
    | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3),
    max_leaves=5,
)
files = strategies.lists(values, max_size=6)
CUT_OFF = "the file ends here, in the middle"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def whole(data: bytes, size: int = 1 << 16) -> list[Any]:
    return list(read_entries(pieces(data, size)))


def readable(data: bytes, size: int = 1 << 16) -> tuple[list[Any], BrokenFileError | None]:
    found: list[Any] = []
    try:
        for entry in read_entries(pieces(data, size)):
            found.append(entry)  # noqa: PERF402  what was read before it broke is to be kept
    except BrokenFileError as error:
        return found, error
    return found, None


@settings(max_examples=50)
@given(files, strategies.integers(1, 40), strategies.sampled_from([None, 1]), strategies.booleans())
def test_an_array_is_read_in_pieces_of_any_size(made: list[Any], size: int, indent: int | None, ascii_: bool) -> None:
    data = json.dumps(made, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    assert whole(data, size) == [*json.loads(data.decode("utf-8", "replace")), ARRAY_END]


@settings(max_examples=50)
@given(strategies.lists(strategies.dictionaries(strategies.text(), values, max_size=3), max_size=5), strategies.data())
def test_of_a_file_that_is_cut_off_what_is_whole_is_read(made: list[Any], data: strategies.DataObject) -> None:
    text = json.dumps(made)
    at = data.draw(strategies.integers(1, len(text) - 1))
    found, error = readable(text[:at].encode(), data.draw(strategies.integers(1, 30)))
    assert error is not None
    assert CUT_OFF in str(error)
    assert found == made[: len(found)]
    assert len(json.dumps(made[: len(found)])) <= at + 1  # nothing whole is left behind, nothing made up
    if len(found) < len(made):
        assert len(json.dumps(made[: len(found) + 1])) > at


@given(strategies.binary(max_size=60), strategies.integers(1, 20))
def test_whatever_a_file_holds_is_read_or_refused(data: bytes, size: int) -> None:
    found, error = readable(data, size)
    again, _ = readable(data)
    assert json.dumps(found, default=str) == json.dumps(again, default=str)
    assert error is None or "line " in str(error)


def test_arrays_one_after_the_other_and_objects_without_one_are_read() -> None:
    assert whole(b'[{"id":1}]\n[{"id":2},{"id":3}]') == [{"id": 1}, ARRAY_END, {"id": 2}, {"id": 3}, ARRAY_END]
    assert whole(b'{"id":1}\n{"id":2}\n') == [{"id": 1}, {"id": 2}]
    assert whole(b'\xef\xbb\xbf [{"id":1}]') == [{"id": 1}, ARRAY_END]
    assert whole(b"") == []


@pytest.mark.parametrize(
    ("data", "place", "what"),
    [
        (b"hello", "line 1, column 1", "expected '['"),
        (b'[{"id":1},\n {"id":x}, {"id": 2}, {"id": 3}]', "line 2, column 8", "Expecting value"),
        (b'[{"id":1} {"id":2}]', "line 1, column 11", "expected ','"),
        (b'[{"id":x}', "line 1, column 8", "Expecting value"),
        (b"[,]", "line 1, column 2", "Expecting value"),
        (b'[{"a":' + b"[" * 100_000, "line 1, column 2", "nested too deeply"),
        (b'[{"a":' + b"1" * 5_000 + b"}]", "line 1, column 2", "too long"),
    ],
)
def test_a_mistake_is_said_with_its_place(data: bytes, place: str, what: str) -> None:
    for size in (7, 1 << 20) if len(data) < 1000 else (1 << 20,):
        _, error = readable(data, size)
        assert error is not None
        assert str(error).startswith(place)
        assert what in str(error)
        assert CUT_OFF not in str(error)


def test_an_entry_without_an_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_ENTRY", 1000)
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b'[{"id":1},{"data":"'
        while True:
            taken += 1
            yield b"x" * 100

    reader = read_entries(endless())
    assert next(reader) == {"id": 1}
    with pytest.raises(BrokenFileError, match="longer than 1000 characters"):
        next(reader)
    assert taken < 50
