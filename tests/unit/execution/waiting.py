"""Waiting for what other threads bring about."""

import threading
from collections.abc import Callable
from time import monotonic_ns

PATIENCE_NS = 30 * 10**9


def wait_until(true: Callable[[], object], what: str) -> None:
    """Until it is true."""
    deadline = monotonic_ns() + PATIENCE_NS
    while not true():
        assert monotonic_ns() < deadline, f"it never came to this: {what}"
        threading.Event().wait(0.001)
