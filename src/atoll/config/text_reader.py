"""Reads protobuf's text format into records: everything that is wrong with a text at once, and where each key stands.

The grammar and the messages are those of protobuf's C++ parser, which the real server uses; that one stops at the
first error. Reading goes on behind a misspelt name as if it had been written right, and behind a value that does not
fit; a text whose structure is broken ends it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from atoll.config.environment import substitute
from atoll.config.fields import Field, default_of, fields_of, schema_name
from atoll.config.places import MAX_FIELDS, MAX_PROBLEMS, Lines, Place, Reading, key_path
from atoll.config.problems import Problem, suggestion
from atoll.config.text_scalars import WANTED, misfit, scalar_of, unquoted


def read_text(text: str, record: type[Any], file: str, environment: Mapping[str, str] | None = None) -> Reading:
    """Reads a message of the schema. Never raises: a text that is no such message has problems."""
    reader = _Reader(text, file, environment)
    found = None
    with suppress(_BrokenError):
        found = reader.whole(record)
    return Reading(found, reader.places, reader.problems)


class _BrokenError(Exception):
    """The rest of the text cannot be understood; the problem is noted already."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    offset: int
    kind: str  # name, number, string, mark; end behind the last one


_TOKEN = re.compile(
    r"""(?:\s|\#[^\n]*)*(?:
    (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>(?:\d|\.\d)(?:[eE][+-](?=\d)|[A-Za-z0-9_.])*)
  | (?P<string>"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"|'[^'\\\n]*(?:\\[^\n][^'\\\n]*)*')
  | (?P<mark>[{}<>\[\]:,;/.-])
  | (?P<open>["'])
  | (?P<other>\S)
  | $)""",
    re.VERBOSE | re.ASCII,
)


class _Reader:
    def __init__(self, text: str, file: str, environment: Mapping[str, str] | None):
        self.places: dict[str, Place] = {}
        self.problems: list[Problem] = []
        self._text = text
        self._lines = Lines(text, file)
        self._environment = environment
        self._tokens = self._scan()
        self._next = _Token("", 0, "end")

    def _scan(self) -> Iterator[_Token]:
        offset = 0
        while True:
            match = _TOKEN.match(self._text, offset)
            kind = match.lastgroup if match else None
            if match is None or kind is None:
                break
            start, offset = match.span(kind)
            if kind == "open":
                self._broken(start, "", "String literals cannot cross line boundaries", 'a " without its partner', "")
            yield _Token(match[kind], start, kind)
        while True:
            yield _Token("", len(self._text), "end")

    def _advance(self) -> _Token:
        token, self._next = self._next, next(self._tokens)
        return token

    def _note(self, offset: int, path: str, message: str, found: str, expected: str, remedy: str = "") -> None:
        place = self._lines.place(offset)
        position = {"file": place.file, "line": place.line, "column": place.column}
        self.problems.append(Problem(path, message, found, expected, remedy, **position))  # type: ignore[arg-type]
        if len(self.problems) == MAX_PROBLEMS:
            raise _BrokenError

    def _broken(self, offset: int, path: str, message: str, found: str, expected: str, remedy: str = "") -> NoReturn:
        self._note(offset, path, message, found, expected, remedy)
        raise _BrokenError

    def _found(self, path: str, offset: int) -> None:
        """Something is written for this key path; the first place counts."""
        self.places.setdefault(path, self._lines.place(offset))
        if len(self.places) > MAX_FIELDS:
            self._broken(offset, "", "the configuration is too big", "more", f"at most {MAX_FIELDS} fields")

    def _expect(self, mark: str, path: str, remedy: str = "") -> None:
        """Takes a mark; goes on as if it were there where it is missing before a value."""
        if self._next.text == mark and self._next.kind == "mark":
            self._advance()
            return
        found = self._next.text
        note = self._note if mark in ":," and self._next.kind in ("name", "number", "string") else self._broken
        shown = _shown(found)
        note(self._next.offset, path, f'Expected "{mark}", found "{found[:80]}"', shown, f"a {mark}", remedy)

    def _takes(self, *marks: str) -> str:
        if self._next.kind == "mark" and self._next.text in marks:
            return self._advance().text
        return ""

    def whole(self, record: type[Any]) -> Any:
        self._advance()
        return self._fields(record, "", "", 0)

    def _message(self, record: type[Any], path: str) -> Any:
        opened = self._next
        close = {"{": "}", "<": ">"}.get(self._takes("{", "<"), "")
        if not close:
            self._expect("{", path, self._in_braces(record, path))
        return self._fields(record, path, close, opened.offset)

    def _in_braces(self, record: type[Any], path: str) -> str:
        """What to do about a value that stands where a message does."""
        only = fields_of(record)[0] if len(fields_of(record)) == 1 else None
        if only is not None and self._next.kind == ("string" if only.scalar == "string" else "name"):
            return f"Write {{ {only.name}: {self._next.text[:80]} }}."
        return f"{path.rpartition('.')[2]} holds fields: write them in {{ }}."

    def _fields(self, record: type[Any], path: str, close: str, opened: int) -> Any:
        fields = {one.name: one for one in fields_of(record)}
        values: dict[str, Any] = {}
        guesses: dict[str, Any] = {}  # the values of misspelt fields, for where the right name is not there as well
        members: dict[str, str] = {}  # of a oneof -> the one that is given
        while not (close and self._takes(close)):
            if self._next.kind == "end":
                if close:
                    line = self._lines.place(opened).line
                    missing = f"the {'{' if close == '}' else '<'} of line {line} has no {close}"
                    self._broken(self._next.offset, path, "Expected identifier, got: ", missing, f"a {close}", "")
                break
            self._field(record, fields, path, values, guesses, members)
            self._takes(",", ";")
        values = guesses | values
        return record(**{name: tuple(one) if isinstance(one, list) else one for name, one in values.items()})

    def _field(
        self,
        record: type[Any],
        fields: Mapping[str, Field],
        path: str,
        values: dict[str, Any],
        guesses: dict[str, Any],
        members: dict[str, str],
    ) -> None:
        name = self._advance()
        if name.text == "[" and name.kind == "mark":
            message = f'an extension is not a field of "{schema_name(record)}"'
            self._broken(name.offset, path, message, "'['", "the name of a field", "Remove it.")
        if name.kind != "name":
            message = f"Expected identifier, got: {name.text[:80]}"
            self._broken(name.offset, path, message, _shown(name.text), "the name of a field", _not_a_name(name, path))
        here = key_path(path, name.text)
        field = fields.get(name.text)
        if field is None:
            field = self._unknown(name, here, schema_name(record), fields)
            if field is None:
                self._skip(here)
                return
            guesses[field.attribute] = self._value(field, key_path(path, field.name), None, name.offset)
            return
        self._found(here, name.offset)
        single = not field.repeated and field.key is None
        if single and field.attribute in values:
            message = f'Non-repeated field "{field.name}" is specified multiple times'
            self._note(name.offset, here, message, f"{field.name} again", "one of them", "Remove one.")
        other = members.setdefault(field.oneof, field.name) if field.oneof else field.name
        if other != field.name:
            message = f'Field "{field.name}" is specified along with field "{other}", another member of oneof '
            message += f'"{field.oneof}"'
            self._note(name.offset, here, message, f"{other} and {field.name}", "at most one of them", "Remove one.")
        value = self._value(field, here, values.get(field.attribute), name.offset)
        if other == field.name:
            values[field.attribute] = value

    def _unknown(self, name: _Token, here: str, owner: str, fields: Mapping[str, Field]) -> Field | None:
        right = suggestion(name.text, fields)
        remedy = f"Did you mean '{right}'?" if right else "Remove it."
        if not right and "parameters" in fields:
            key = f'parameters {{ key: "{name.text}" value {{ string_value: "..." }} }}'
            remedy = f"Remove it; or, if the backend is to read it: {key}."
        expected = "" if right else f"a field of {owner.rpartition('.')[2]}: {', '.join(fields)}"
        message = f'unknown field \'{name.text}\' (Message type "{owner}" has no field named "{name.text}")'
        self._note(name.offset, here, message, "", expected, remedy)
        return fields[right] if right else None

    def _value(self, field: Field, path: str, before: Any, offset: int) -> Any:
        if field.record or field.key is not None:
            self._takes(":")
        else:
            self._expect(":", path)
        if field.key is None and not field.repeated:
            return self._element(field, path)
        elements: Any = before if before is not None else [] if field.key is None else {}
        if not self._takes("["):
            self._add(elements, field, path, offset)
        elif not self._takes("]"):
            self._add(elements, field, path, self._next.offset)
            while not self._takes("]"):
                self._comma(path, bool(field.record) or field.key is not None)
                self._add(elements, field, path, self._next.offset)
        return elements

    def _comma(self, path: str, messages: bool) -> None:
        token = self._next
        message = f'Expected ",", found "{token.text[:80]}"'
        if token.kind == "mark" and token.text in "{<":
            self._note(token.offset, path, message, "", "a comma", "Put a comma between the elements of a list.")
        elif token.kind == "end" or token.text in ("}", ">") or (messages and token.kind == "name"):
            name = path.rpartition(".")[2]
            self._broken(
                token.offset, path, message, _shown(token.text), "a , or a ]", f"Close the list {name} with ]."
            )
        else:
            self._expect(",", path)

    def _add(self, elements: Any, field: Field, path: str, offset: int) -> None:
        """Reads one more element."""
        if field.key is not None:
            key, value = self._entry(field, path, offset)
            elements[key] = value
            return
        here = f"{path}[{len(elements)}]"
        self._found(here, offset)
        elements.append(self._element(field, here))

    def _element(self, field: Field, path: str) -> Any:
        return self._message(field.record, path) if field.record else self._scalar(field, path)

    def _entry(self, field: Field, path: str, offset: int) -> tuple[Any, Any]:
        """One entry of a map: a message of a key and a value. Its places are those of the key's path."""
        opened = self._next
        close = {"{": "}", "<": ">"}.get(self._takes("{", "<"), "")
        if not close:
            self._expect("{", path, "Write { key: ... value: ... }.")
        key: Any = default_of(field.key or "string")
        value: Any = None
        here = f"{path}[{key!r}]"
        given: set[str] = set()
        while not self._takes(close):
            name = self._advance()
            if name.kind == "end":
                line = self._lines.place(opened.offset).line
                missing = f"the {opened.text} of line {line} has no {close}"
                self._broken(name.offset, path, "Expected identifier, got: ", missing, f"a {close}", "")
            if name.text in given:
                message = f'Non-repeated field "{name.text}" is specified multiple times'
                self._note(name.offset, here, message, f"{name.text} again", "one of them", "Start a new entry.")
            given.add(name.text)
            if name.text == "key":
                self._expect(":", path)
                key = self._plain(field.key or "string", None, path, environment=None)
                here = f"{path}[{key!r}]"
            elif name.text == "value" and field.record:
                self._takes(":")
                value = self._message(field.record, here)
            elif name.text == "value":
                self._expect(":", here)
                value = self._scalar(field, here)
            else:
                message = (
                    f'unknown field \'{name.text}\' (Message type "{field.entry}" has no field named "{name.text}")'
                )
                self._note(name.offset, path, message, "", "key and value", "Write { key: ... value: ... }.")
                self._skip(path)
            self._takes(",", ";")
        self._found(here, offset)
        if value is None:
            value = field.record() if field.record else default_of(field.scalar, field.enum)
        return key, value

    def _scalar(self, field: Field, path: str) -> Any:
        return self._plain(field.scalar, field, path, self._environment)

    def _plain(self, scalar: str, field: Field | None, path: str, environment: Mapping[str, str] | None) -> Any:
        """A scalar; where it does not fit, the default in its place."""
        token = self._advance()
        enum = field.enum if field else None
        default = default_of(scalar, enum)
        if token.kind == "string":
            value = self._bytes(token, path)
            if scalar != "string":
                self._misfit(token, token.text, field, scalar, path)
                return default
            return self._decoded(value, token, path, environment)
        text = token.text
        if text == "-" and token.kind == "mark" and self._next.kind in ("name", "number"):
            text += self._advance().text
        elif token.kind not in ("name", "number"):
            expected = WANTED[scalar]
            self._broken(token.offset, path, f"Expected {expected}, got: {token.text[:80]}", "", f"a value for {path}")
        result = scalar_of(text, scalar, enum)
        if result is None:
            self._misfit(token, text, field, scalar, path)
            return default
        return result

    def _bytes(self, token: _Token, path: str) -> bytes:
        """Of a quoted text and those behind it, which are one."""
        pieces: list[bytes] = []
        while True:
            try:
                pieces.append(unquoted(token.text))
            except ValueError as error:
                message = "Invalid escape sequence in string literal"
                self._note(token.offset, path, message, str(error), "one that the format has", "Write \\\\ for a \\.")
            if self._next.kind != "string":
                return b"".join(pieces)
            token = self._advance()

    def _decoded(self, value: bytes, token: _Token, path: str, environment: Mapping[str, str] | None) -> str:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError as error:
            message = "the text is not valid UTF-8"
            self._note(token.offset, path, message, f"byte 0x{value[error.start]:02x}", "UTF-8", "Write UTF-8.")
            return ""
        found: list[Problem] = []
        text = substitute(text, environment, path, found)
        for one in found:
            self._note(token.offset, path, one.message, one.found, one.expected, one.remedy)
        return text

    def _misfit(self, token: _Token, text: str, field: Field | None, scalar: str, path: str) -> None:
        message, expected, remedy = misfit(text, token.kind == "string", field, scalar)
        self._note(token.offset, path, message, _shown(text), expected, remedy)

    def _skip(self, path: str) -> None:
        """Steps over the value of a field that is not known."""
        self._takes(":")
        depth = 0
        while True:
            token = self._advance()
            if token.kind == "end":
                if depth:
                    self._broken(token.offset, path, "Expected identifier, got: ", "the end of the file", "a }", "")
                return
            if token.kind == "mark" and token.text in "{<[":
                depth += 1
            elif token.kind == "mark" and token.text in "}>]":
                depth -= 1
            if depth <= 0 and not (token.text == "-" or (token.kind == "string" and self._next.kind == "string")):
                return


def _not_a_name(token: _Token, path: str) -> str:
    """What to do about a token that stands where the name of a field does."""
    if token.kind == "string":
        return "Write the name without quotes."
    if token.text == "/":
        return "A comment begins with #."
    if token.text == "{" and not path:
        return "A configuration in JSON is named config.json."
    if token.text == "}" and not path:
        return "Remove it: each { before it has its } already."
    if token.text == "]":
        return f"Close {path} with }} before it." if path else "Remove it: each [ before it has its ] already."
    return ""


def _shown(text: str) -> str:
    if not text:
        return "the end of the file"
    return text if len(text) <= 80 else text[:77] + "..."
