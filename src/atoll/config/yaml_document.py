"""YAML texts as plain documents, under YAML 1.2's core schema: `no`, `on` and 1:30 are texts, no booleans or numbers.

Nothing is constructed from tags. An alias repeats what its anchor names, and counts in full toward the bound on
members.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml as untyped_yaml

from atoll.config.documents import MAX_DEPTH, MAX_MEMBERS, Document, DocumentError, document_error
from atoll.config.places import Lines, Place

MAX_YAML = 1 << 18  # characters; the parser takes seconds for a megabyte, and real files are a few kilobytes

yaml: Any = untyped_yaml
_CORE = "tag:yaml.org,2002:"
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_OTHER_BASE = re.compile(r"0(?:o[0-7]+|x[0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(nan|NaN|NAN)")


class _Composer:
    def __init__(self, text: str, file: str):
        self._file = file
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._members = 0
        self.places: dict[int, dict[Any, Place]] = {}

    def whole(self) -> Any:
        value = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise document_error(self._place(event), "a second document", "---", "one document in a file")
                value = self._value(next(self._events), 0)
        return value

    def _place(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _count(self, event: Any, members: int) -> None:
        self._members += members
        if self._members > MAX_MEMBERS:
            found = "more, with what its aliases repeat"
            raise document_error(self._place(event), "the document is too big", found, f"at most {MAX_MEMBERS} members")

    def _value(self, event: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            expected = f"at most {MAX_DEPTH} levels"
            raise document_error(self._place(event), "the document is nested too deep", "more", expected)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                expected = f"&{event.anchor} before it"
                raise document_error(self._place(event), "an alias of nothing", f"*{event.anchor}", expected)
            value, members = self._anchors[event.anchor]
            self._count(event, members)
            return value
        before = self._members
        self._count(event, 1)
        if isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(event, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(event, depth)
        else:
            value = self._scalar(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._members - before
        return value

    def _tag(self, event: Any, *known: str) -> None:
        if event.tag is not None and event.tag not in ("!", *(f"{_CORE}{one}" for one in known)):
            remedy = "Remove it; a text stands in quotes."
            raise document_error(self._place(event), "a tag that is not known", event.tag, "no tags", remedy)

    def _mapping(self, event: Any, depth: int) -> dict[str, Any]:
        self._tag(event, "map")
        value: dict[str, Any] = {}
        places = self.places[id(value)] = {}
        while True:
            event = next(self._events)
            if isinstance(event, yaml.MappingEndEvent):
                return value
            place = self._place(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise document_error(place, "a key that is no text", "something else", "a plain key")
            key = _paired(event.value)
            if key in value:
                found = f"'{key}', as in line {places[key].line}"
                raise document_error(place, "the key is given twice", found, "different keys", "Remove one.")
            places[key] = place
            self._count(event, 1)
            value[key] = self._value(next(self._events), depth + 1)

    def _sequence(self, event: Any, depth: int) -> list[Any]:
        self._tag(event, "seq")
        value: list[Any] = []
        places = self.places[id(value)] = {}
        while True:
            event = next(self._events)
            if isinstance(event, yaml.SequenceEndEvent):
                return value
            places[len(value)] = self._place(event)
            value.append(self._value(event, depth + 1))

    def _scalar(self, event: Any) -> Any:
        self._tag(event, "str", "int", "float", "bool", "null")
        if (event.tag is None and event.style is not None) or event.tag in ("!", f"{_CORE}str"):
            return _paired(event.value)
        return _plain(event.value)


def _paired(text: str) -> str:
    """The text with the halves of a character that two escapes stand for put together."""
    if not any("\ud800" <= one <= "\udfff" for one in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plain(text: str) -> Any:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text) and len(text) < 400:
        return int(text[2:], 16 if text[1] == "x" else 8)
    if _FLOAT.fullmatch(text) and len(text) < 400:
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        return "NaN" if special[2] else "-Infinity" if special[1] == "-" else "Infinity"
    return text


def _remedy(problem: str, line: str) -> str:
    """What to do about something that the parser does not understand in this line."""
    if "'\\t'" in problem:
        return "Indent with spaces: YAML allows no tabs there."
    if "${" in line:
        return "Quote a text with ${NAME} that stands inside { } or [ ]."
    if (
        "<block end>" in problem
        or "mapping values are not allowed" in problem
        or "could not find expected ':'" in problem
    ):
        return "Begin the keys of one message in the same column, each with a : and a space behind it."
    return ""


def read_yaml(text: str, file: str) -> Document:
    """Raises DocumentError."""
    if len(text) > MAX_YAML:
        found, expected = f"{len(text)} characters", f"at most {MAX_YAML}"
        raise document_error(Place(file), "the file is too big to be read as YAML", found, expected)
    composer = _Composer(text, file)
    try:
        value = composer.whole()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        line = text.split("\n")[place.line - 1] if 0 < place.line <= text.count("\n") + 1 else ""
        problem = str(error.problem or error.context or error)
        raise document_error(place, problem, "", "", _remedy(problem, line)) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        offset = getattr(error, "position", None)
        place = Place(file) if offset is None else Lines(text, file).place(offset)
        raise document_error(place, str(error).splitlines()[0], "", "printable text") from None
    return Document(value, composer.places)


__all__ = ["Document", "DocumentError", "read_yaml"]
