"""What has to be said to the server when an object goes away."""

from __future__ import annotations

from _thread import start_new_thread
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def call_apart(function: Callable[..., Any], *arguments: Any) -> None:
    """Call the function soon, on a thread of its own.

    A finalizer may run in the middle of anything, with any lock held: also the one that `function` takes.
    """
    with suppress(RuntimeError):  # the interpreter is ending, and the process's end says the rest
        start_new_thread(function, arguments)
