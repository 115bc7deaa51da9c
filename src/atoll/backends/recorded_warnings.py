"""Python's warnings while a library loads a model: kept from the log, for who wants to look at them."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.RLock()


@contextmanager
def recorded_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """All that are given meanwhile.

    How warnings are shown is the whole process's. Two threads that change it at once would each restore what the other
    has changed, and from then on a list that nobody reads would grow with every warning: the second one waits.
    """
    with _one_at_a_time, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield told
