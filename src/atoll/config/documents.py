"""JSON and YAML texts as plain documents, each member with the place where it stands.

Both readers are bounded: in size, in depth and, as a YAML alias repeats what it names, in members.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from atoll.config.places import MAX_FIELDS, Lines, Place
from atoll.config.problems import Problem

MAX_DEPTH = 64
MAX_MEMBERS = MAX_FIELDS


class DocumentError(Exception):
    """The text is no document; `problem` says where and why."""

    def __init__(self, problem: Problem):
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Document:
    """`value` is made of dicts, lists, strings, numbers, booleans and None. `places` has, for the identity of each of
    those dicts and lists, the place of each member by its key or index."""

    value: Any
    places: Mapping[int, Mapping[Any, Place]]


def document_error(place: Place, message: str, found: str, expected: str, remedy: str = "") -> DocumentError:
    """The one thing that is wrong with a text that is no document."""
    return DocumentError(
        Problem("", message, found, expected, remedy, file=place.file, line=place.line, column=place.column)
    )


_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WORDS = {"true": True, "false": False, "null": None}
_WORD = re.compile("true|false|null")
_MAX_NUMBER = 400  # characters


class _Json:
    def __init__(self, text: str, file: str):
        self._text = text
        self._lines = Lines(text, file)
        self._at = 0
        self._members = 0
        self.places: dict[int, dict[Any, Place]] = {}

    def whole(self) -> Any:
        value = self._value(0)
        if self._at < len(self._text):
            raise self._error("Expected end-of-document", "nothing more")
        return value

    def _error(self, message: str, expected: str, remedy: str = "") -> DocumentError:
        found = self._text[self._at : self._at + 20].split("\n")[0]
        if self._at >= len(self._text):
            message = f"Unexpected end of string. {message}"
        return document_error(
            self._lines.place(self._at), message, repr(found) if found else "the end of the file", expected, remedy
        )

    def _space(self) -> str:
        """Steps over white space; the character behind it, "" at the end."""
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def _value(self, depth: int) -> Any:
        first = self._space()
        if depth > MAX_DEPTH:
            raise self._error("the document is nested too deep", f"at most {MAX_DEPTH} levels")
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise self._error("the document is too big", f"at most {MAX_MEMBERS} members")
        if first == "{":
            value: Any = self._object(depth)
        elif first == "[":
            value = self._array(depth)
        elif first == '"':
            value = self._string()
        else:
            value = self._plain()
        self._space()
        return value

    def _plain(self) -> Any:
        word = _WORD.match(self._text, self._at)
        if word:
            self._at = word.end()
            return _WORDS[word[0]]
        number = _NUMBER.match(self._text, self._at)
        if number is None or len(number[0]) > _MAX_NUMBER:
            bare = self._space().isalpha()
            remedy = "Texts stand in double quotes." if bare else self._comment_remedy()
            raise self._error("Unexpected token." if bare else "Expected a value.", "a JSON value", remedy)
        self._at = number.end()
        return float(number[0]) if number[1] or number[2] else int(number[0])

    def _string(self) -> str:
        try:
            text, self._at = scanstring(self._text, self._at + 1, True)
        except json.JSONDecodeError as error:
            self._at = error.pos
            raise self._error(error.msg, "a text in double quotes") from None
        return str(text)

    def _object(self, depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        places = self.places[id(value)] = {}
        self._at += 1
        if self._space() == "}":
            self._at += 1
            return value
        while True:
            if self._space() != '"':
                raise self._error("Expected an object key or }.", "a key in double quotes", self._comma_remedy())
            place = self._lines.place(self._at)
            key = self._string()
            if key in value:
                first = places[key]
                found = f"'{key}', as in line {first.line}"
                raise document_error(place, "the key is given twice", found, "different keys", "Remove one.")
            places[key] = place
            if self._space() != ":":
                raise self._error("Expected : between key:value pair.", "':'")
            self._at += 1
            value[key] = self._value(depth + 1)
            if self._closes("}"):
                return value

    def _array(self, depth: int) -> list[Any]:
        value: list[Any] = []
        places = self.places[id(value)] = {}
        self._at += 1
        if self._space() == "]":
            self._at += 1
            return value
        while True:
            self._space()
            places[len(value)] = self._lines.place(self._at)
            value.append(self._value(depth + 1))
            if self._closes("]"):
                return value

    def _comma_remedy(self) -> str:
        return "Remove the comma before it." if self._space() == "}" else self._comment_remedy()

    def _comment_remedy(self) -> str:
        return "Remove the comment: JSON has none." if self._space() in ("/", "#") else ""

    def _closes(self, mark: str) -> bool:
        found = self._space()
        if found not in (",", mark) or not found:
            message = "Expected , or } after key:value pair." if mark == "}" else "Expected , or ] after array value."
            remedy = "Put a comma between the two." if found == '"' else self._comment_remedy()
            raise self._error(message, f"',' or '{mark}'", remedy)
        self._at += 1
        return found == mark


def read_json(text: str, file: str) -> Document:
    """Raises DocumentError. NaN and Infinity are written as strings, and comments are not JSON."""
    reader = _Json(text, file)
    value = reader.whole()
    return Document(value, reader.places)
