"""The names of a function's inputs and outputs, from where they stand in its arguments and results.

JAX describes the place of each array as a path of keys; `path` is such a one, outermost first.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

SEPARATOR = "."


def input_names(paths: Sequence[Sequence[Any]]) -> list[str]:
    """Those of a function's arguments; `paths` begin in the pair of its positional and its keyword arguments.

    A keyword argument has its own name, a positional one INPUT__0, INPUT__1 and so on. The keys of dictionaries and the
    positions in lists follow after a dot; a function's only argument, if it is a dictionary, leaves its own name out.
    """
    positions = {key_text(path[1]) for path in paths if key_text(path[0]) == "0"}
    alone = len(positions) == 1 and all(key_text(path[0]) == "0" for path in paths)
    names = []
    for path in paths:
        if key_text(path[0]) != "0":
            names.append(_joined(path[1:]))
        elif alone and len(path) > 2 and _has_name(path[2]):
            names.append(_joined(path[2:]))
        else:
            names.append(_joined([f"INPUT__{key_text(path[1])}", *path[2:]]))
    return names


def output_names(paths: Sequence[Sequence[Any]]) -> list[str]:
    """Those of a function's result: the keys of a dictionary, and else OUTPUT__0, OUTPUT__1 and so on."""
    names = []
    for path in paths:
        if path and _has_name(path[0]):
            names.append(_joined(path))
        elif path:
            names.append(_joined([f"OUTPUT__{key_text(path[0])}", *path[1:]]))
        else:
            names.append("OUTPUT__0")
    return names


def twice(names: Sequence[str]) -> list[str]:
    """The names that more than one tensor would have."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def key_text(key: Any) -> str:
    """One key of a path: of a dictionary, an attribute's name, or a position."""
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _has_name(key: Any) -> bool:
    return hasattr(key, "name") or isinstance(getattr(key, "key", None), str)


def _joined(keys: Sequence[Any]) -> str:
    return SEPARATOR.join(key if isinstance(key, str) else key_text(key) for key in keys)
