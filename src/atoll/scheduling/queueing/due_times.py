"""When which of the queued things is due: an order of moments from which entries are dropped without a search. Pure."""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

_Entry = TypeVar("_Entry")
_SLACK = 64  # dead entries that are kept without regard to how many are alive


class DueTimes(Generic[_Entry]):
    """`is_alive` says whether an entry still counts. One that does not is dropped when its moment comes, or when there
    are more of the dead than of the living.
    """

    def __init__(self, is_alive: Callable[[_Entry], bool]):
        self._is_alive = is_alive
        self._numbers = count()  # of two with one moment the one that was added first
        self._heap: list[tuple[int, int, _Entry]] = []

    def add(self, due_ns: int, entry: _Entry, alive: int) -> None:
        """`alive`: how many entries may count, this one among them."""
        heap = self._heap
        heappush(heap, (due_ns, next(self._numbers), entry))
        if len(heap) > 2 * alive + _SLACK:
            heap[:] = [one for one in heap if self._is_alive(one[2])]
            heapify(heap)

    def due(self, now_ns: int) -> Iterator[_Entry]:
        """Take out those that are due by now, the earliest first."""
        heap = self._heap
        while heap and heap[0][0] <= now_ns:
            entry = heappop(heap)[2]
            if self._is_alive(entry):
                yield entry

    def next_ns(self) -> int:
        """The moment of the next one; 0: there is none."""
        heap = self._heap
        while heap and not self._is_alive(heap[0][2]):
            heappop(heap)
        return heap[0][0] if heap else 0

    def clear(self) -> None:
        self._heap.clear()

    def __len__(self) -> int:
        """How many are kept, the dead ones too."""
        return len(self._heap)
