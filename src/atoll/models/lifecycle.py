"""The states of a model version, and which may follow which. The names are those of Triton's repository index."""

from enum import Enum

from atoll.errors import AtollError


class ModelState(Enum):
    UNKNOWN = "UNKNOWN"  # never tried
    LOADING = "LOADING"  # being built; nothing is served
    READY = "READY"  # takes requests
    UNLOADING = "UNLOADING"  # answers what it has taken, takes no more
    UNAVAILABLE = "UNAVAILABLE"  # failed to load, or gone; the reason says which


MOVES = frozenset(
    {
        (ModelState.UNKNOWN, ModelState.LOADING),
        (ModelState.LOADING, ModelState.READY),
        (ModelState.LOADING, ModelState.UNAVAILABLE),
        (ModelState.READY, ModelState.UNLOADING),
        (ModelState.UNLOADING, ModelState.UNAVAILABLE),
        (ModelState.UNAVAILABLE, ModelState.LOADING),
    }
)


class Lifecycle:
    """Where a model version is, why, and with which error it failed. An illegal move raises."""

    def __init__(self) -> None:
        self.state = ModelState.UNKNOWN
        self.reason = ""
        self.error: AtollError | None = None

    def move(self, to: ModelState, reason: str = "", error: AtollError | None = None) -> None:
        """Enter another state."""
        if (self.state, to) not in MOVES:
            raise AssertionError(f"a model cannot go from {self.state.value} to {to.value}. This is a bug")
        self.state = to
        self.reason = reason
        self.error = error
