"""From a plain document, as JSON and YAML have them, to records: everything that does not fit at once.

Names are the schema's or their camelCase, enumerations go by name or number, 64-bit integers are numbers or strings,
and null is absent, as in protobuf's JSON.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

from atoll.config.documents import Document
from atoll.config.environment import substitute
from atoll.config.fields import (
    INTEGER_RANGES,
    Field,
    conflict,
    default_of,
    enum_by_name,
    enum_by_number,
    enum_names,
    fields_of,
    schema_name,
)
from atoll.config.places import MAX_PROBLEMS, Place, Reading, key_path, located
from atoll.config.problems import Problem, suggestion


def read_document(
    document: Document,
    record: type[Any],
    *,
    form: str = "JSON",
    environment: Mapping[str, str] | None = None,
    file: str = "",
) -> Reading:
    """Reads a message of the schema. Never raises; `form` is what the problems call objects and arrays after."""
    reader = _Reader(document.places, form, environment)
    found = reader.message(document.value, record, "")
    problems = located(reader.problems[:MAX_PROBLEMS], reader.places)
    if file:
        problems = [one if one.file else replace(one, file=file, line=1, column=1) for one in problems]
    return Reading(found, reader.places, problems)


def camel_case(name: str) -> str:
    """The other name under which protobuf's JSON knows a field."""
    first, *rest = name.split("_")
    return first + "".join(one.capitalize() for one in rest)


class _Reader:
    def __init__(self, marks: Mapping[int, Mapping[Any, Place]], form: str, environment: Mapping[str, str] | None):
        self.places: dict[str, Place] = {}
        self.problems: list[Problem] = []
        self._marks = marks
        self._form = form
        self._environment = environment

    def _note(self, path: str, message: str, found: str, expected: str, remedy: str = "") -> None:
        self.problems.append(Problem(path, message, found, expected, remedy))

    def _mark(self, container: Any, key: Any, path: str) -> None:
        place = self._marks.get(id(container), {}).get(key)
        if place is not None:
            self.places.setdefault(path, place)

    def _mark_as(self, path: str, other: str) -> None:
        if path in self.places:
            self.places.setdefault(other, self.places[path])

    def message(self, document: Any, record: type[Any], path: str) -> Any:
        """The record, with defaults for what is wrong."""
        if not isinstance(document, dict):
            message = f"({path}): invalid value {_shown(document)} for type type.googleapis.com/{schema_name(record)}"
            if isinstance(document, list) and path:
                message = f"{path}: Proto field is not repeating, cannot start list."
            elif not path:
                message = "Root element must be a message."
            self._note(path, message, _shown(document), self._object(), _object_remedy(record, document))
            return record()
        fields = fields_of(record)
        names = {camel_case(one.name): one for one in fields} | {one.name: one for one in fields}
        values: dict[str, Any] = {}
        for name, value in document.items():
            field = names.get(name)
            here = key_path(path, field.name if field else str(name))
            self._mark(document, name, here)
            if len(self.problems) >= MAX_PROBLEMS:
                break
            if field is None:
                right = self._unknown(path, here, str(name), record, [one.name for one in fields])
                if right is not None and not {right, camel_case(right)} & document.keys():
                    field = names[right]  # what it holds may be wrong as well
                    values[field.attribute] = self._value(value, field, key_path(path, right))
            elif field.attribute in values:
                self._note(here, "the field is given twice", f"'{name}' again", "one spelling of it")
            elif value is not None:
                values[field.attribute] = self._value(value, field, here)
        both = conflict(record, (name for name, value in values.items() if value is not None))
        if both is not None:
            first, second = both
            message = (
                f"invalid value oneof field '{first.oneof}' is already set. Cannot set '{second.name}' for type oneof"
            )
            found = f"{first.name} and {second.name}"
            self._note(key_path(path, second.name), message, found, "at most one of them", "Remove one.")
        return record(**values)

    def _object(self) -> str:
        return "a JSON object" if self._form == "JSON" else "a mapping: one 'key: value' a line"

    def _unknown(self, owner: str, path: str, name: str, record: type[Any], known: list[str]) -> str | None:
        """Notes it; the name that it likely stands for."""
        right = suggestion(name, known)
        remedy = f"Did you mean '{right}'?" if right else "Remove it."
        expected = f"a field of {record.__qualname__}" + ("" if right else f" ({', '.join(known)})")
        message = f"({owner}) {name[:80]}: Cannot find field." if owner else f"{name[:80]}: Cannot find field."
        self._note(path, message, _shown(name), expected, remedy)
        return right

    def _value(self, value: Any, field: Field, path: str) -> Any:
        if field.key is not None:
            return self._map(value, field, path)
        if not field.repeated:
            return self._single(value, field, path)
        if not isinstance(value, list | tuple):  # one element needs no list around it, as in the real server
            self._mark_as(path, f"{path}[0]")
            return (self._single(value, field, f"{path}[0]"),)
        elements = []
        for index, one in enumerate(value):
            here = f"{path}[{index}]"
            self._mark(value, index, here)
            elements.append(self._single(one, field, here))
            if len(self.problems) >= MAX_PROBLEMS:
                break
        return tuple(elements)

    def _map(self, value: Any, field: Field, path: str) -> dict[Any, Any]:
        if not isinstance(value, dict):
            message = f"invalid value Cannot bind a list to map for field '{field.name}'. for type Map"
            if not isinstance(value, list):
                message = f"({path}): invalid value {_shown(value)} for a map"
            self._note(path, message, _shown(value), self._object())
            return {}
        entries = {}
        for name, one in value.items():
            key = self._scalar(name, field.key or "string", path)
            here = f"{path}[{key!r}]"
            self._mark(value, name, here)
            entries[key] = self._single(one, field, here)
            if len(self.problems) >= MAX_PROBLEMS:
                break
        return entries

    def _single(self, value: Any, field: Field, path: str) -> Any:
        if isinstance(value, str) and not field.record:
            value = substitute(value, self._environment, path, self.problems)
        if field.record:
            return self.message(value, field.record, path)
        if field.enum:
            return self._enum(value, field.enum, path)
        return self._scalar(value, field.scalar, path)

    def _enum(self, value: Any, enum: type[Enum], path: str) -> Any:
        member: Enum | None = None
        if isinstance(value, str):
            member = enum_by_name(enum, value)
        elif isinstance(value, int) and not isinstance(value, bool):
            member = enum_by_number(enum, value)
        if member is None:
            right = suggestion(value, enum_names(enum)) if isinstance(value, str) else None
            remedy = f"Did you mean '{right}'?" if right else ""
            expected = "" if right else f"one of {', '.join(enum_names(enum))}"
            message = f"({path}): invalid value {_shown(value)} for type type.googleapis.com/{schema_name(enum)}"
            self._note(path, message, _shown(value), expected, remedy)
            return default_of("", enum)
        return member

    def _scalar(self, value: Any, scalar: str, path: str) -> Any:
        """A scalar in its Python type; strings hold numbers too, as in protobuf's JSON."""
        result = _converted(value, scalar)
        if result is None:
            message = f"({path}): invalid value {_shown(value)} for type TYPE_{scalar.upper()}"
            if isinstance(value, list):
                message = f"{path}: Proto field is not repeating, cannot start list."
            bare = scalar == "string" and isinstance(value, int | float)
            self._note(path, message, _shown(value), _EXPECTED[scalar], f'Quote it: "{_bare(value)}".' if bare else "")
            return default_of(scalar)
        return result


def _bare(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _object_remedy(record: type[Any], value: Any) -> str:
    """For a value that stands where a message with that one value belongs."""
    fields = fields_of(record)
    if len(fields) != 1 or isinstance(value, dict | list) or value is None or fields[0].record:
        return ""
    return f'Write {{"{fields[0].name}": {_shown(value)}}}.'


_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

# the words that the real server takes
_BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "0"), False)

_EXPECTED = {
    "string": "a string",
    "bool": "true or false",
    "float": "a number",
    "double": "a number",
    **{name: f"an integer from {low} to {high}" for name, (low, high) in INTEGER_RANGES.items()},
}


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def _converted(value: Any, scalar: str) -> Any:
    if scalar == "string":
        return value if isinstance(value, str) and not _LONE_SURROGATE.search(value) else None
    if scalar == "bool":
        if isinstance(value, str):
            return _BOOLEANS.get(value.lower())
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (len(value) > 400 or value != value.strip() or "_" in value):
        return None
    if scalar in INTEGER_RANGES:
        return _integer(value, *INTEGER_RANGES[scalar])
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if isinstance(value, str) and not math.isfinite(number) else number


def _integer(value: int | float | str, low: int, high: int) -> int | None:
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    elif isinstance(value, str):
        digits = value[1:] if value.startswith("-") else value
        if not (digits.isascii() and digits.isdigit()):
            return None
        value = int(value)
    return value if low <= value <= high else None


def _shown(value: Any) -> str:
    text = repr(value)
    if isinstance(value, str):
        text = f'"{value}"' if value.isprintable() else f'"{ascii(value)[1:-1]}"'
    return text if len(text) <= 80 else text[:77] + "..."
