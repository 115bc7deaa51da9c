"""What is being done now, for whoever watches."""

import sys


def progress(line: str) -> None:
    """One line that overwrites itself on a terminal; nothing in a pipe."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
