"""The entries of a trace file, one after the other, in bounded memory: from pieces of its bytes, as they come.

A file is a JSON array of objects; several arrays one after the other (files put together) and objects without an array
are read too. What is whole before a mistake or a sudden end is given out first.
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from atoll.errors import InvalidArgumentError

MAX_ENTRY: Final = 128 << 20  # characters of one entry; the elements of a traced tensor may be 64 Mi of them
_NEAR: Final = 16  # characters before the end of what is there, in which a word, a number or an escape may be cut off
_BLANK: Final = " \t\r\n"
_BYTE_ORDER_MARK: Final = "\ufeff"


class BrokenFileError(InvalidArgumentError):
    """What follows in the file cannot be read: something is wrong there, or it ends in the middle, as where its writer
    died.
    """


class ArrayEnd:
    """Stands between entries where an array has ended: what follows may be of another server's run."""


ARRAY_END: Final = ArrayEnd()


def read_entries(pieces: Iterable[bytes]) -> Iterator[Any]:
    """Each entry as JSON's values, and ARRAY_END behind the last one of an array. Raises BrokenFileError, with line and
    column, at the first thing that is none.
    """
    return iter(_Reader(pieces))


class _Reader:
    """Where in the file the reading is."""

    def __init__(self, pieces: Iterable[bytes]):
        self._pieces = iter(pieces)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._json = json.JSONDecoder(strict=False)
        self._text = ""
        self._at = 0
        self._ended = False
        self._line, self._column = 1, 1  # of `_text`'s beginning
        self._inside = self._comma = False

    def __iter__(self) -> Iterator[Any]:
        while (character := self._next_character()) is not None:
            if character == "]" and self._inside:
                self._at += 1
                self._inside = False
                yield ARRAY_END
            elif character == "[" and not self._inside:
                self._at += 1
                self._inside, self._comma = True, False
            elif character == "," and self._inside and self._comma:
                self._at += 1
                self._comma = False
            elif self._inside and self._comma:
                raise self._broken(self._at, f"expected ',' or ']' behind an entry, not {character!a}")
            elif character == "{" or self._inside:
                entry = self._entry()
                self._comma = True
                yield entry
            else:
                raise self._broken(self._at, f"expected '[', as a trace file is a JSON array, not {character!a}")
        if self._inside:
            raise self._cut()

    def _next_character(self) -> str | None:
        """The next one that is no blank; None at the end."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _BLANK:
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if not self._more():
                return None

    def _more(self) -> bool:
        """Read on, at least as much as is waiting already; False at the end."""
        if self._ended:
            return False
        self._move(self._at)
        wanted, parts = max(len(self._text), 1), [self._text]
        while wanted > 0 and not self._ended:
            piece = next(self._pieces, None)
            self._ended = piece is None
            part = self._decoder.decode(piece or b"", final=piece is None)
            if self._line == self._column == 1 and not any(parts):
                part = part.removeprefix(_BYTE_ORDER_MARK)
            wanted -= len(part)
            parts.append(part)
        before = len(self._text)
        self._text = "".join(parts)
        return len(self._text) > before or not self._ended

    def _move(self, at: int) -> None:
        """Forget what lies before, but for where it ended."""
        self._line, self._column = self._place(at)
        self._text, self._at = self._text[at:], 0

    def _entry(self) -> Any:
        mistake: json.JSONDecodeError | None = None
        while True:
            try:
                entry, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if error.pos < len(self._text) - _NEAR and not error.msg.startswith("Unterminated string"):
                    raise self._broken(error.pos, error.msg) from None
                mistake = error
            except RecursionError:
                raise self._broken(self._at, "an entry is nested too deeply") from None
            except ValueError:
                raise self._broken(self._at, "a number in this entry is too long") from None
            else:
                # a number may go on in what is not here yet, behind a sign that alone is none: `1`, `1e-`, `1e-5`
                if isinstance(entry, (dict, list, str)) or end < len(self._text) - 2 or self._ended:
                    self._at = end
                    return entry
            if len(self._text) - self._at > MAX_ENTRY:
                raise self._broken(self._at, f"an entry is longer than {MAX_ENTRY} characters")
            if self._ended:
                raise self._broken(mistake.pos, mistake.msg) if mistake and not _is_cut(mistake) else self._cut()
            self._more()

    def _place(self, at: int) -> tuple[int, int]:
        lines = self._text.count("\n", 0, at)
        if not lines:
            return self._line, self._column + at
        return self._line + lines, at - self._text.rfind("\n", 0, at)

    def _broken(self, at: int, what: str) -> BrokenFileError:
        line, column = self._place(at)
        return BrokenFileError(f"line {line}, column {column}: {what}")

    def _cut(self) -> BrokenFileError:
        return self._broken(len(self._text), "the file ends here, in the middle")


def _is_cut(mistake: json.JSONDecodeError) -> bool:
    """Whether more text would have been needed: nothing there is wrong."""
    left = mistake.doc[mistake.pos :].strip(_BLANK)
    return (
        mistake.msg.startswith(("Unterminated", "Invalid \\"))
        or left.lower() in ("", "-", ".", "e", "e+", "e-")
        or any(word.startswith(left) for word in ("true", "false", "null", "NaN", "Infinity", "-Infinity"))
    )
