"""Requests for models that are in a repository but not in memory: they wait here, bounded, until that is loaded."""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from atoll.errors import AtollError, ModelAsleepError, UnavailableError
from atoll.server import WAKES

if TYPE_CHECKING:
    from atoll.server import Server

logger = logging.getLogger(__name__)

ATTEMPTS: Final = WAKES
"""How often one request waits: a model that was loaded for it may be pushed out by others before it could run."""

_TOGETHER = 64  # requests that go on in one round of the loop, which has sockets to look after too

Then = Callable[[AtollError | None], None]


class Waiter:
    """One request that waits; `cancel` when nobody wants its answer any more."""

    __slots__ = ("_name", "_owner", "then")

    def __init__(self, owner: "Waking", name: str, then: Then):
        self._owner = owner
        self._name = name
        self.then: Then | None = then

    def cancel(self) -> None:
        """It will not be called back."""
        self._owner.forget(self._name, self)


class Waking:
    """Belongs to one event loop's thread."""

    def __init__(self, server: "Server", loop: AbstractEventLoop, limit: int = 4096):
        self._server = server
        self._loop = loop
        self._limit = limit
        self._count = 0
        self._waiting: dict[str, dict[Waiter, None]] = {}

    def wait(self, asleep: ModelAsleepError, name: str, attempt: int, then: Then) -> Waiter:
        """Have the model loaded; `then` is called on the loop's thread, later, with None or with why it failed.

        `attempt` counts from 0. Raises UnavailableError when too many requests wait already, or this one has waited
        often enough.
        """
        if attempt >= ATTEMPTS:
            raise UnavailableError(
                f"{asleep}; it was loaded {attempt} times for this request, and each time unloaded for other models "
                "before the request could run: --model-memory-budget is too small for what is asked for at once"
            )
        if self._count >= self._limit:
            raise UnavailableError(f"{asleep}, and {self._limit} requests wait for models already: try again later")
        waiter = Waiter(self, name, then)
        waiters = self._waiting.get(name)
        if waiters is None:
            self._waiting[name] = waiters = {}
            try:
                self._server.wake(name, lambda error: self._report(name, error))
            except BaseException:
                del self._waiting[name]
                raise
        waiters[waiter] = None
        self._count += 1
        return waiter

    def forget(self, name: str, waiter: Waiter) -> None:
        """See `Waiter.cancel`."""
        waiter.then = None
        waiters = self._waiting.get(name)
        if waiters is not None and waiter in waiters:
            del waiters[waiter]
            self._count -= 1

    def _report(self, name: str, error: AtollError | None) -> None:
        """From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._release, name, error)
        except RuntimeError:  # the loop is closed: nobody is left to answer to
            logger.debug("model '%s' woke after its event loop had closed", name)

    def _release(self, name: str, error: AtollError | None) -> None:
        waiters = self._waiting.pop(name, {})
        self._count -= len(waiters)
        self._go_on(list(waiters), error)

    def _go_on(self, waiters: Sequence[Waiter], error: AtollError | None) -> None:
        for waiter in waiters[:_TOGETHER]:
            then = waiter.then
            if then is None:
                continue
            try:
                then(error)
            except Exception:
                logger.exception("a request that waited for its model could not be gone on with")
        if len(waiters) > _TOGETHER:
            self._loop.call_soon(self._go_on, waiters[_TOGETHER:], error)
