"""The last errors of a server's requests, for people who look: which model, why, when."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from atoll.errors import AtollError

MOST: Final = 200
MAX_TEXT: Final = 500  # characters of an error, and of what a client chose


@dataclass(frozen=True, slots=True)
class RecentError:
    """`time_s`: wall-clock seconds since the epoch. `reason`: of a failure, as in nv_inference_request_failure; of a
    refusal, the name of the error's code.
    """

    time_s: float
    model: str
    version: str
    request_id: str
    reason: str
    text: str


class RecentErrors:
    """Of one server. Thread-safe: what is appended to a deque is there for all threads at once."""

    def __init__(self) -> None:
        # The fields of a RecentError: making one takes longer than all the rest, and few are ever looked at.
        self._errors: deque[tuple[float, str, str, str, str, str]] = deque(maxlen=MOST)

    def note(self, model: str, version: str, request_id: str, reason: str, error: AtollError) -> None:
        """A request has ended like that."""
        text = str(error)[:MAX_TEXT]
        self._errors.append((time.time(), model, version, request_id[:MAX_TEXT], reason, text))

    def latest(self) -> tuple[RecentError, ...]:
        """The newest first."""
        return tuple([RecentError(*fields) for fields in reversed(self._errors.copy())])
