"""What a child prints, as lines for the log: bounded in length and in number, in order. Pure.

A model that prints without end must not wait for the log, and must not fill it: beyond a burst, lines are left out, and
the log says how many, followed by the last of them, where a traceback would be.
"""

from __future__ import annotations

from collections import deque

MAX_LINE_BYTES = 8192
BURST_LINES = 4000
LINES_PER_SECOND = 400
BURST_BYTES = 1 << 20
BYTES_PER_SECOND = 128 << 10
_LAST_LINES = 40  # kept of what is left out, and to explain an end


class OutputLines:
    """Cuts one child's output into lines. Times are in seconds, of any clock that only grows."""

    def __init__(self, now: float) -> None:
        self.last: deque[str] = deque(maxlen=_LAST_LINES)  # the last lines, whether logged or not
        self._partial = b""
        self._skipping = False  # the rest of a line that was too long
        self._lines = float(BURST_LINES)
        self._bytes = float(BURST_BYTES)
        self._filled_at = now
        self._left_out_lines = 0
        self._left_out_bytes = 0
        self._held: deque[str] = deque(maxlen=_LAST_LINES)  # the last of those left out

    def feed(self, data: bytes, now: float) -> list[str]:
        """The lines to log, after these bytes were read."""
        self._refill(now)
        *whole, rest = data.split(b"\n")
        found: list[str] = self._resumed() if self._left_out_lines and self._may_resume() else []
        first = max(0, len(whole) - _LAST_LINES) if self._left_out_lines else 0
        if first:  # nobody will see them: count only
            self._partial, self._skipping = b"", False
            self._left_out_lines += first
            self._left_out_bytes += sum(map(len, whole[:first])) + first
        for index in range(first, len(whole)):
            line = self._whole(whole[index])
            if line is not None:
                found += self._admitted(line)
        found += self._partially(rest)
        return found

    def idle(self, now: float) -> list[str]:
        """The lines to log when a while has passed: what was left out is told of, though no further line came."""
        self._refill(now)
        return self._resumed() if self._left_out_lines and self._may_resume() else []

    def end(self) -> list[str]:
        """The lines to log when nothing more can come: what was left out, and a last line that has no end."""
        found = self._resumed() if self._left_out_lines else []
        if self._partial:
            line = _text(self._partial)
            self._partial = b""
            self.last.append(line)
            found.append(line)
        return found

    def _whole(self, ending: bytes) -> str | None:
        """The line that ends with this; None for the rest of one that was cut."""
        if self._skipping:
            self._skipping = False
            return None
        line = self._partial + ending
        self._partial = b""
        return _cut(line) if len(line) > MAX_LINE_BYTES else _text(line)

    def _partially(self, rest: bytes) -> list[str]:
        """Keep the beginning of a line; of one that is too long already, give the beginning."""
        if self._skipping:
            return []
        self._partial += rest
        if b"\r" in self._partial[:-1]:  # a progress bar, drawn over and over: its last state
            self._partial = self._partial[self._partial.rindex(b"\r", 0, -1) + 1 :]
        if len(self._partial) <= MAX_LINE_BYTES:
            return []
        line, self._partial, self._skipping = _cut(self._partial), b"", True
        return self._admitted(line)

    def _admitted(self, line: str) -> list[str]:
        self.last.append(line)
        if not self._left_out_lines and self._lines >= 1 and self._bytes >= len(line):
            self._lines -= 1
            self._bytes -= len(line)
            return [line]
        self._left_out_lines += 1
        self._left_out_bytes += len(line) + 1
        self._held.append(line)
        return []

    def _refill(self, now: float) -> None:
        passed = max(0.0, now - self._filled_at)
        self._filled_at = now
        self._lines = min(BURST_LINES, self._lines + passed * LINES_PER_SECOND)
        self._bytes = min(BURST_BYTES, self._bytes + passed * BYTES_PER_SECOND)

    def _may_resume(self) -> bool:
        """Not for each line that the rate allows: a note of a gap after each single line helps nobody."""
        return self._lines >= LINES_PER_SECOND and self._bytes >= BYTES_PER_SECOND

    def _resumed(self) -> list[str]:
        held, lines = list(self._held), self._left_out_lines
        hidden = lines - len(held)
        note = f"({hidden} lines, of {self._left_out_bytes} bytes with the next {len(held)}, were left out here: the "
        note += f"model printed more than {LINES_PER_SECOND} lines or {BYTES_PER_SECOND >> 10} KiB a second)"
        self._held.clear()
        self._left_out_lines = self._left_out_bytes = 0
        self._lines -= len(held)
        self._bytes -= sum(map(len, held))
        return [note, *held] if hidden else held


def _text(line: bytes) -> str:
    line = line.removesuffix(b"\r")
    return line[line.rfind(b"\r") + 1 :].decode(errors="backslashreplace")


def _cut(line: bytes) -> str:
    return line[:MAX_LINE_BYTES].decode(errors="backslashreplace") + f" (line cut after {MAX_LINE_BYTES} bytes)"
