"""The scalars of protobuf's text format: from a token to its value, and what is said of one that does not fit."""

import re
from enum import Enum
from typing import Any

import numpy as np

from atoll.config.fields import INTEGER_RANGES, Field, enum_by_name, enum_by_number, enum_names
from atoll.config.problems import suggestion

WANTED = {
    "string": "string",
    "bool": "identifier",
    "float": "double",
    "double": "double",
    "": "integer or identifier",
    **dict.fromkeys(INTEGER_RANGES, "integer"),
}
"""What protobuf says that it expects, by the schema's type; "" is an enumeration."""

_BOOLEANS = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}
_DECIMAL = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?", re.ASCII)
_INTEGER = re.compile(r"(-?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9]\d*))", re.ASCII)
_MAX_DIGITS = 400


def scalar_of(text: str, scalar: str, enum: type[Enum] | None) -> Any:
    """The value of an unquoted token, None where it is none of that type."""
    if enum is not None:
        number = _integer(text)
        return enum_by_name(enum, text) if number is None else enum_by_number(enum, number)
    if scalar == "bool":
        return _BOOLEANS.get(text)
    if scalar in INTEGER_RANGES:
        low, high = INTEGER_RANGES[scalar]
        number = _integer(text)
        return number if number is not None and low <= number <= high and not _unsigned_minus(text, low) else None
    if scalar in ("float", "double"):
        return _float(text, scalar)
    return None


def _unsigned_minus(text: str, low: int) -> bool:
    return low == 0 and text.startswith("-")


def _integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    if match is None or len(text) > _MAX_DIGITS:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    return -value if sign else value


def _float(text: str, scalar: str) -> float | None:
    word = text.removeprefix("-").lower()
    if word in ("inf", "infinity", "nan"):
        value = float(word)
        return -value if text.startswith("-") else value
    octal = word.isdigit() and word.startswith("0") and word != "0"  # which floats are not written in
    if octal or len(text) > _MAX_DIGITS or not _DECIMAL.fullmatch(text):
        return None
    value = float(text.rstrip("fF"))
    if scalar == "double":
        return value
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))  # the shortest decimal that is this float: 0.3, not 0.30000001192092896


_ESCAPE = re.compile(
    rb"\\(?:([abfnrtv\\'\"?])|([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})"
    rb"|u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.|$))",
    re.DOTALL,
)
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def unquoted(token: str) -> bytes:
    """The bytes of a quoted token. Raises ValueError for an escape that the format does not have."""

    def byte_of(match: re.Match[bytes]) -> bytes:
        letter, octal, hexadecimal, high, low, short, long, other = match.groups()
        if letter:
            return _LETTERS.get(letter, letter)
        if octal:
            return bytes([int(octal, 8) & 0xFF])
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        if high:  # the two halves of one character
            return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF)).encode()
        number = -1 if other is not None else int(short or long, 16)
        if not 0 <= number <= 0x10FFFF:
            raise ValueError(match[0].decode("utf-8", "replace"))
        return chr(number).encode("utf-8", "surrogatepass")

    return _ESCAPE.sub(byte_of, token[1:-1].encode("utf-8", "surrogatepass"))


def misfit(text: str, quoted: bool, field: Field | None, scalar: str) -> tuple[str, str, str]:
    """What is said of a token that is no value of its field: the message in protobuf's words, what is expected, and
    what to do."""
    enum = field.enum if field is not None else None
    name = field.name if field is not None else "key"
    if enum is not None:
        return _misfit_enum(text, quoted, enum, name)
    if scalar == "bool":
        message = f"Expected identifier, got: {text[:80]}"
        if not quoted:
            message = f'Invalid value for boolean field "{name}". Value: "{text[:80]}"'
        return message, "true or false", ""
    if scalar in INTEGER_RANGES:
        low, high = INTEGER_RANGES[scalar]
        number = None if quoted or (low == 0 and text.startswith("-")) else _integer(text)
        message = f"Expected integer, got: {text[:80]}" if number is None else f"Integer out of range ({text[:80]})"
        inside = text[1:-1] if quoted else ""
        return message, f"an integer from {low} to {high}", "Remove the quotes." if _integer(inside) is not None else ""
    if scalar == "string":
        return f"Expected string, got: {text[:80]}", "a text in quotes", f'Write "{text[:80]}".'
    return f"Expected double, got: {text[:80]}", "a number", ""


def _misfit_enum(text: str, quoted: bool, enum: type[Enum], name: str) -> tuple[str, str, str]:
    inside = text[1:-1] if quoted else text
    right = suggestion(inside, enum_names(enum))
    expected = "" if right and not quoted else f"one of {', '.join(enum_names(enum))}"
    if quoted:
        remedy = f"Write {right}, without quotes." if right else "Write one of them, without quotes."
        return f"Expected integer or identifier, got: {text[:80]}", expected, remedy
    remedy = f"Did you mean '{right}'?" if right else ""
    if _integer(text) is not None:
        return f"unknown enumeration value {text}", expected, "Use one of the names."
    return f'Unknown enumeration value of "{text[:80]}" for field "{name}"', expected, remedy
