"""Where things stand in a file: from a key path, such as input[0].dims, to its line and column."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from atoll.config.problems import Problem

MAX_PROBLEMS = 20  # that are told of one file
MAX_FIELDS = 100_000  # and elements of lists, that are read of one file; real ones have a few hundred


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a file; `line` and `column` count from 1, 0 is not known."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says: a record, the place of each key, and what is wrong. With problems the record has defaults for
    what could not be read, and is None where nothing could."""

    record: Any
    places: Mapping[str, Place]
    problems: list[Problem]


class Lines:
    """The lines of a text, to turn offsets into places."""

    def __init__(self, text: str, file: str):
        self._file = file
        self._starts = [0]
        start = text.find("\n")
        while start >= 0:
            self._starts.append(start + 1)
            start = text.find("\n", start + 1)

    def place(self, offset: int) -> Place:
        """Where the character at `offset` stands."""
        line = bisect_right(self._starts, offset)
        return Place(self._file, line, offset - self._starts[line - 1] + 1)


def key_path(path: str, name: str) -> str:
    """The path of a field of the message at `path`; "" is the whole configuration."""
    return f"{path}.{name}" if path else name


_SEGMENT = re.compile(r"""\[(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d+)\]|\.?[^.\[\]]+""")


def parents(path: str) -> list[str]:
    """The path itself, then what holds it, and so on, the field of the whole configuration last.

    Keys of maps stand quoted in brackets, and may themselves hold dots and brackets.
    """
    return [path[: match.end()] for match in _SEGMENT.finditer(path)][::-1]


def located(problems: Iterable[Problem], places: Mapping[str, Place]) -> list[Problem]:
    """The problems with the place of their key, or of the nearest thing around it that was written; those that have a
    place already keep it."""
    found = []
    for problem in problems:
        place = None if problem.file else next((places[one] for one in parents(problem.path) if one in places), None)
        if place is not None:
            problem = replace(problem, file=place.file, line=place.line, column=place.column)
        found.append(problem)
    return found
