"""Scrapes that come together share one page, which a thread of its own writes: never the event loop's, so that requests
for inference do not wait for it.
"""

import logging
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from atoll.errors import AtollError, InternalError, UnavailableError
from atoll.frontends.http.compression import deflate

logger = logging.getLogger(__name__)

MOST: Final = 64
"""Scrapes that are not answered yet; what comes beyond is refused."""

PAYS_BYTES: Final = 4096
"""Smaller pages are not compressed."""

_QUICK: Final = 1  # zlib's level: these pages shrink to a twentieth even so
Then = Callable[[Sequence[bytes], str, AtollError | None], None]


@dataclass(slots=True, eq=False)
class Scrape:
    """`coding`: the content coding that the client takes, "" for none. `then` gets the page's parts and their coding,
    or the error, on the loop's thread.
    """

    loop: AbstractEventLoop
    coding: str
    then: Then
    gone: bool = False

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self.gone = True


class Scrapes:
    """Thread-safe; of any number of event loops. Its thread is there while there are scrapes."""

    def __init__(self, render: Callable[[], Sequence[bytes]]):
        self._render = render
        self._lock = threading.Lock()
        self._waiting: list[Scrape] = []
        self._begun = 0  # scrapes whose page is being written
        self._running = False

    def submit(self, scrape: Scrape) -> None:
        """Answer it with a page that is begun from now on. Raises UnavailableError where too many wait."""
        with self._lock:
            if len(self._waiting) + self._begun >= MOST:
                self._waiting = [one for one in self._waiting if not one.gone]
            if len(self._waiting) + self._begun >= MOST:
                raise UnavailableError(f"{MOST} scrapes of the metrics wait for their answers: try again later")
            self._waiting.append(scrape)
            if self._running:
                return
            try:
                threading.Thread(target=self._work, name="metrics page", daemon=True).start()
            except RuntimeError as error:  # the system has no more threads
                self._waiting.remove(scrape)
                raise UnavailableError(f"no thread for the metrics page: {error}") from error
            self._running = True

    def _work(self) -> None:
        while True:
            with self._lock:
                together = [one for one in self._waiting if not one.gone]
                self._waiting = []
                self._begun = len(together)
                if not together:
                    self._running = False
                    return
            self._answer(together)

    def _answer(self, together: list[Scrape]) -> None:
        parts: Sequence[bytes] = ()
        bodies: dict[str, tuple[Sequence[bytes], str]] = {}
        failure: AtollError | None = None
        try:
            parts = self._render()
            large = sum(map(len, parts)) >= PAYS_BYTES
            for coding in {one.coding for one in together}:
                compressed = coding and large
                bodies[coding] = ([deflate(parts, coding, _QUICK)], coding) if compressed else (parts, "")
        except AtollError as error:
            failure = error
        except Exception:
            logger.exception("the metrics page could not be written")
            failure = InternalError("internal error while writing the metrics; the server's log has the details")
        for one in together:
            body, coding = bodies.get(one.coding, ((), ""))
            try:
                one.loop.call_soon_threadsafe(one.then, body, coding, failure)
            except RuntimeError:  # the loop is closed: nobody is left to answer to
                logger.debug("a scrape outlived its event loop")
