"""A model version as clients write it: read as leniently, and refused in the same words, as in the real server."""

import re

from atoll.errors import InvalidArgumentError

_LEADING_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_INT64_DIGITS = 19


def model_version(text: str) -> str:
    """The version's number in its plain form, "" (the policy chooses) for "": `01` and `1x` are 1, as for C's stol.

    InvalidArgumentError for a text that does not begin with an integer of 64 bits, or with a negative one.
    """
    if not text:
        return ""
    if text.isascii() and text.isdigit() and text[0] != "0" and len(text) < _INT64_DIGITS:
        return text
    match = _LEADING_INTEGER.match(text)
    digits = match[1].lstrip("+-").lstrip("0") if match else ""
    if match is None or len(digits) > _INT64_DIGITS or int(digits or "0") >= 2**63:
        raise InvalidArgumentError(
            f"failed to get model version from specified version string '{text}' (details: stol), "
            "version should be an integral value > 0"
        )
    if match[1].startswith("-") and digits:
        raise InvalidArgumentError(
            f"invalid model version specified '{text}' , version should be an integral value > 0"
        )
    return digits or "0"
