"""What a terminal shows while models are loaded: one line that is drawn anew, with the log passing above it."""

import os
import shutil
import threading
from time import monotonic
from typing import TextIO

_CLEAR = "\r\x1b[K"
_PACE_S = 0.1  # between two drawings; what changes faster cannot be read


class LoadDisplay:
    """A stream for the log, too: what is written to it appears above the line. Thread-safe.

    Only for a terminal; elsewhere there is nothing to draw, and the log says what happened.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._lock = threading.Lock()
        self._loading: dict[str, str] = {}  # model -> how far its download is
        self._done = self._failed = self._total = 0
        self._line = ""
        self._drawn_at = 0.0

    # ---- what happens

    def begin(self, model: str, total: int) -> None:
        """A model of `total` begins to load."""
        with self._lock:
            if self._done >= self._total:  # those of before are all there: these are others
                self._done = self._failed = 0
            self._total = total
            self._loading.setdefault(model, "")
            self._draw()

    def end(self, model: str, failed: bool) -> None:
        """It is loaded, or it failed."""
        with self._lock:
            self._loading.pop(model, None)
            self._done += 1
            self._failed += failed
            self._draw()

    def download(self, model: str, received: int, total: int) -> None:
        """So many bytes of its files have come."""
        with self._lock:
            if model not in self._loading:
                return
            self._loading[model] = f" {received >> 20}/{total >> 20} MiB" if received < total else ""
            self._draw()

    def close(self) -> None:
        """Take the line away."""
        with self._lock:
            if self._line:
                self._stream.write(_CLEAR)
                self._stream.flush()
            self._line = ""
            self._total = 0

    def _draw(self) -> None:
        now = monotonic()
        if not self._total or (now - self._drawn_at < _PACE_S and self._done < self._total):
            return
        self._drawn_at = now
        failed = f", {self._failed} failed" if self._failed else ""
        names = ", ".join(_shown(name) + progress for name, progress in self._loading.items())
        text = f"Loading models: {self._done} of {self._total}{failed}" + (f"; now {names}" if names else "")
        width = self._columns() - 1
        self._line = text if len(text) <= width else text[: max(width - 3, 0)] + "..."
        self._stream.write(_CLEAR + self._line)
        self._stream.flush()

    def _columns(self) -> int:
        """Of the terminal that is drawn on; standard output may be elsewhere."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or shutil.get_terminal_size().columns
        except (OSError, ValueError):
            return shutil.get_terminal_size().columns

    # ---- what the log writes

    def write(self, text: str) -> int:
        """Above the line."""
        with self._lock:
            if self._line:
                self._stream.write(_CLEAR)
            self._stream.write(text)
            if self._line and text.endswith("\n"):
                self._stream.write(self._line)
        return len(text)

    def flush(self) -> None:
        """The stream's own."""
        self._stream.flush()


def _shown(name: str) -> str:
    """A folder's name may hold anything, but nothing that moves a terminal's cursor."""
    return name if name.isprintable() else ascii(name)[1:-1]
