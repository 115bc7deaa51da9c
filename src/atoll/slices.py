"""Long work in short slices, between which threads that wait for the interpreter get it."""

from time import monotonic_ns, sleep
from typing import Final

SLICE_NS: Final = 100_000
"""An event loop that has a request to answer waits so long at most. Without, it would be the interpreter's switch
interval of 5 ms. Each end of a slice may cost the work that long, where others are busy: shorter ones would stop it.
"""


class Slices:
    """To be called between short pieces of work."""

    __slots__ = ("_until_ns",)

    def __init__(self) -> None:
        self._until_ns = monotonic_ns() + SLICE_NS

    def __call__(self) -> None:
        if monotonic_ns() >= self._until_ns:
            sleep(0)
            self._until_ns = monotonic_ns() + SLICE_NS
