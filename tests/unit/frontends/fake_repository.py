"""The part of an engine that loads and unloads models: it notes what it is asked, and waits where the test says so."""

import threading
from collections.abc import Callable, Mapping

from atoll.errors import AtollError, InternalError, ModelAsleepError
from atoll.models.index import IndexEntry
from atoll.observability.tracing.tracer import Tracer

WAIT_S = 20
INDEX = [
    IndexEntry("broken", "1", "UNAVAILABLE", "Internal: told to fail"),
    IndexEntry("echo", "1", "READY"),
    IndexEntry("never"),
]


class FakeRepository:
    """`calls` are the load and unload calls so far. A model named `slow...` waits until `let_go` is set."""

    def __init__(self) -> None:
        self.tracing = Tracer()
        self.calls: list[tuple[object, ...]] = []
        self.entered = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.asleep: set[str] = set()
        self.wakes: list[tuple[str, Callable[[AtollError | None], None]]] = []
        self.asked_to_wake = threading.Semaphore(0)

    def load_model(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        self.calls.append(("load", name, config, files))
        self._act(name)

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        self.calls.append(("unload", name, unload_dependents))
        self._act(name)

    def _act(self, name: str) -> None:
        self.entered.release()
        if name.startswith("slow"):
            assert self.let_go.wait(WAIT_S)
        if name == "unknown":
            raise InternalError(f"failed to load '{name}', failed to poll from model repository")
        if name == "bug":
            raise ZeroDivisionError("by zero")

    def repository_index(self, ready: bool = False) -> list[IndexEntry]:
        return [one for one in INDEX if one.state == "READY"] if ready else INDEX

    def demand_awake(self, name: str) -> None:
        if name in self.asleep:
            raise ModelAsleepError(f"Request for model: '{name}' is being loaded")

    def wake(self, name: str, then: Callable[[AtollError | None], None]) -> None:
        self.wakes.append((name, then))
        self.asked_to_wake.release()

    def wait_for_wake(self) -> None:
        assert self.asked_to_wake.acquire(timeout=WAIT_S)

    def woken(self, error: AtollError | None = None, *, awake: bool = True) -> None:
        """The model that somebody waits for is there, or failed; told from another thread, as the real one does."""
        name, then = self.wakes.pop(0)
        if awake:
            self.asleep.discard(name)
        thread = threading.Thread(target=then, args=(error,))
        thread.start()
        thread.join(WAIT_S)
