"""Sizes in bytes as people write them: "4294967296", "4GiB", "500 MB". Pure."""

import re

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_UNITS |= {
    "K": 1 << 10,
    "M": 1 << 20,
    "G": 1 << 30,
    "T": 1 << 40,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)


def parse_byte_size(text: str) -> int | None:
    """The bytes that a text means, in whole; None where it means none."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2].upper() not in _UNITS:
        return None
    return (
        int(float(found[1]) * _UNITS[found[2].upper()]) if "." in found[1] else int(found[1]) * _UNITS[found[2].upper()]
    )
