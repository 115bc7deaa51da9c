"""What changes when a model's files change: one token a file, and which versions a difference concerns."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

_LARGEST_VERSION = 2**63 - 1  # versions are int64 on the wire


@dataclass(frozen=True, slots=True)
class Changes:
    """`shared`: something outside the version folders changed (config.pbtxt, labels, ...), so every version is
    concerned; `versions`: those whose own files came, went or changed. False where there is no difference.
    """

    shared: bool
    versions: frozenset[int]

    def __bool__(self) -> bool:
        return self.shared or bool(self.versions)


def version_number(name: str) -> int | None:
    """The version that a folder of this name holds: a whole number from 1 without leading zeros; None otherwise."""
    if not (name.isascii() and name.isdigit()) or name.startswith("0") or len(name) > 19:
        return None
    number = int(name)
    return number if number <= _LARGEST_VERSION else None


def token(status: os.stat_result) -> str:
    """Differs when the file was written, replaced or resized, on local disk."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def changed_versions(old: Mapping[str, str], new: Mapping[str, str]) -> Changes:
    """What differs between two mappings of relative paths to tokens, as `Repository.files` gives them."""
    shared = False
    versions = set()
    for path in old.keys() | new.keys():
        if old.get(path) == new.get(path):
            continue
        first, slash, _ = path.partition("/")
        version = version_number(first) if slash else None
        if version is None:
            shared = True
        else:
            versions.add(version)
    return Changes(shared, frozenset(versions))
