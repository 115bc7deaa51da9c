"""What TensorRT says goes to the log, and its errors into ours: the calls themselves only say that they failed."""

import logging
import threading
from collections import deque
from typing import Any

from atoll.backends.error_text import bounded

logger = logging.getLogger(__name__)
_LEVELS = {"INTERNAL_ERROR": logging.ERROR, "ERROR": logging.ERROR, "WARNING": logging.WARNING, "INFO": logging.DEBUG}
_KEPT = 4


class HeardErrors(threading.local):
    """The latest errors that TensorRT reported on this thread."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque(maxlen=_KEPT)

    def add(self, text: str) -> None:
        """Keep it until it is asked for."""
        self._texts.append(text.strip())

    def any(self) -> bool:
        """Whether there are some that nobody has taken."""
        return bool(self._texts)

    def take(self) -> str:
        """All that was heard since the last time, in one text; what to say instead where nothing was."""
        text = bounded("; ".join(self._texts))
        self._texts.clear()
        return text or "TensorRT did not say why"


def make_logger(tensorrt: Any, heard: HeardErrors) -> Any:
    """A tensorrt.ILogger. Errors are kept in `heard` and not logged: whoever asked is told of them."""

    class Logger(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            level = _LEVELS.get(severity.name)
            if level == logging.ERROR:
                heard.add(msg)
            elif level is not None:
                logger.log(level, "TensorRT: %s", msg.strip())

    return Logger()
