"""A backend for tests: it runs a Python function, can be held up at will, and notes what it was given."""

import threading
from collections.abc import Callable, Mapping, Sequence

from atoll.tensor import Array

Compute = Callable[[Mapping[str, Array]], Mapping[str, Array]]


class FakeInstance:
    """An instance (see backends/api.py) that runs `compute` on each batch.

    `hold()` keeps executions from returning until `release()`; `entered` is set while one is inside. `batches` has
    the inputs of each execution.
    """

    def __init__(self, compute: Compute):
        self.batches: list[dict[str, Array]] = []
        self.output_names: list[tuple[str, ...]] = []
        self.threads: list[int] = []
        self.entered = threading.Event()
        self.closed = False
        self._compute = compute
        self._open = threading.Event()
        self._open.set()

    def hold(self) -> None:
        """From now on executions wait."""
        self.entered.clear()
        self._open.clear()

    def release(self) -> None:
        """Let what waits go on."""
        self._open.set()

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> Mapping[str, Array]:
        """One batch."""
        assert not self.closed, "execute after close"
        self.batches.append(dict(inputs))
        self.output_names.append(tuple(output_names))
        self.threads.append(threading.get_ident())
        self.entered.set()
        self._open.wait()
        return self._compute(inputs)

    def close(self) -> None:
        """Note that it was closed; twice is an error."""
        assert not self.closed, "closed twice"
        self.closed = True
