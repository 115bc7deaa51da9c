"""Texts of a file as a terminal may show them, how wide they are there, and durations in units that can be read."""

import unicodedata
from typing import Final

_SECOND: Final = 1_000_000_000
_LONG: Final = ((3_600, 60, "min"), (86_400, 3_600, "h"))


def shown(text: str, *, ascii_only: bool = False) -> str:
    """Without anything that a terminal acts on or that changes the order of what stands there: as escapes instead."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if _is_plain(one, ascii_only) else _escape(one) for one in text)


def _is_plain(character: str, ascii_only: bool) -> bool:
    if character.isascii():
        return character.isprintable()
    # of letters, marks, numbers, signs: those that have a form; no format characters, surrogates, unassigned ones
    return not ascii_only and unicodedata.category(character)[0] in "LMNPS"


def _escape(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def width(text: str) -> int:
    """Columns of a terminal that a shown text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fitted(text: str, columns: int, *, ellipsis: str = "…") -> str:
    """A shown text in exactly so many columns: cut, or with blanks behind it."""
    if width(text) > columns:
        kept: list[str] = []
        left = columns - len(ellipsis)
        for character in text[: 4 * columns]:  # of marks without a width there may be any number
            left -= _columns(character)
            if left < 0:
                break
            kept.append(character)
        text = "".join(kept) + ellipsis[:columns]
    return text + " " * (columns - width(text))


def duration(ns: int) -> str:
    """Three figures and a unit: `999 ns`, `1.23 us`, `45.6 ms`, `789 s`, and minutes, hours and days beyond that."""
    if ns < 0:
        return f"-{duration(-ns)}"
    if ns < 1_000:
        return f"{ns} ns"
    for below, unit, least in ((1_000_000, "us", 1_000), (_SECOND, "ms", 1_000_000)):
        if ns < below - below // 2_000:
            return f"{_figures(ns / least)} {unit}"
    seconds = ns / _SECOND
    if seconds < 1_000:
        return f"{_figures(seconds)} s"
    for below, size, unit in _LONG:
        if seconds < below * 10:
            return f"{_figures(seconds / size)} {unit}"
    return f"{_figures(seconds / 86_400)} d"


def _figures(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
