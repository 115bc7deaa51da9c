"""JSON text and plain Python values, both ways, as Triton reads and writes them.

orjson does the work. What it refuses but the real server takes (NaN and the infinities, a byte order mark, bytes that
are not UTF-8) goes a slower way through the standard library. Bytes that are not UTF-8 survive as surrogate escapes,
so that an id or a BYTES element comes back as it went in.
"""

import json
import math
import re
from typing import Any

import orjson

from atoll.errors import InternalError
from atoll.tensor import Buffer

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SPACE = " \t\r\n"  # JSON's; Python strips more
_LARGEST = 2**64 - 1
_SMALLEST = -(2**63)

# The standard library's words -> those of the real server's parser.
_REASONS = {
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid escape character in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Extra data": "The document root must not be followed by other values.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
}


def parse(data: Buffer) -> Any:
    """The value of a JSON text. Integers beyond 64 bits become floats, as in the real server.

    Raises InternalError, with the cause and the byte's position, where the text is not JSON (the real server, too,
    calls that an internal error).
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _parse_leniently(bytes(data))


def dump(value: Any) -> bytes:
    """The JSON text of a value, without spaces; NaN and the infinities are spelled as the real server spells them."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def dump_string(text: str) -> bytes:
    """The JSON text of a string."""
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:  # surrogate escapes
        return dump(text)


def _parse_leniently(data: bytes) -> Any:
    data = data.removeprefix(b"\xef\xbb\xbf").partition(b"\0")[0]  # a zero byte ends the text for the real server
    text = data.decode("utf-8", "surrogateescape")
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_float)
    except json.JSONDecodeError as error:
        reason, position = _diagnose(text, error)
        raise _refusal(reason, len(text[:position].encode("utf-8", "surrogateescape"))) from None
    except RecursionError:
        raise _refusal("The document is nested too deeply.", 0) from None
    except OverflowError as error:
        raise _refusal("Number too big to be stored in double.", max(text.find(str(error)), 0)) from None
    lone = _SURROGATE_ESCAPE.search(text)
    if lone is not None:
        try:
            dump(value)
        except UnicodeEncodeError:
            raise _refusal("The surrogate pair in string is invalid.", lone.start()) from None
    return value


def _refusal(reason: str, position: int) -> InternalError:
    return InternalError(f"failed to parse the request JSON buffer: {reason} at {position}")


def _diagnose(text: str, error: json.JSONDecodeError) -> tuple[str, int]:
    """What the real server's parser would have said, and where."""
    position, found = error.pos, text[error.pos : error.pos + 1]
    if not text[: position + 1].strip(_SPACE):
        return "The document is empty.", position
    if error.msg == "Expecting value":
        return "Invalid value.", position + _well_begun(text[position : position + 8])
    if error.msg == "Expecting ',' delimiter":
        if found == ".":
            return "Miss fraction part in number.", position + 1
        if found in ("e", "E"):
            return "Miss exponent in number.", position + 1
        return (_MISSING_BRACKET if _innermost_is_array(text[:position]) else _MISSING_BRACE), position
    if error.msg == "Unterminated string starting at":
        position = len(text)
    elif error.msg == "Invalid \\uXXXX escape":
        position -= 1
    return _REASONS.get(error.msg, f"{error.msg}."), position


def _well_begun(value: str) -> int:
    """How much of a wrong value could have begun a right one."""
    for length in range(len(value), 0, -1):
        if any(right.startswith(value[:length]) for right in ("true", "false", "null", "-")):
            return length
    return 0


_MISSING_BRACKET = "Missing a comma or ']' after an array element."
_MISSING_BRACE = "Missing a comma or '}' after an object member."
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def _innermost_is_array(text: str) -> bool:
    """Whether the last bracket of a correct beginning of a JSON text that is still open is that of an array."""
    depth = 0
    for mark in reversed(re.findall(r"[\[\]{}]", _STRING.sub("", text))):
        if mark in "]}":
            depth += 1
        elif depth:
            depth -= 1
        else:
            return bool(mark == "[")
    return False


def _integer(digits: str) -> int | float:
    if (
        len(digits) < 25
    ):  # more digits than a 64-bit number has: not worth an exact conversion, and int() limits its length
        value = int(digits)
        if _SMALLEST <= value <= _LARGEST:
            return value
    return _float(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise OverflowError(digits)
    return value
