"""What a local path that somebody named really is: a repository, a model's folder, or something near to one.

Only for explaining a mistake: what it says is a look at names, and decides nothing about what is served.
"""

import os
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path

from atoll.backends.model_kind import is_saved_model
from atoll.config.platforms import guess_backend
from atoll.repositories.fingerprint import version_number
from atoll.repositories.object_store import is_object_store

MAX_LOOKED_AT = 10_000  # folders and files: an explanation is not worth more


class Location(Enum):
    """`FILE` is a SavedModel's folder, too. `OPEN` is a folder of which the names do not tell: empty, half-written, or
    something else.
    """

    NOTHING = "nothing"
    FILE = "a file"
    REPOSITORY = "a repository"
    MODEL = "a model's folder"
    VERSION = "a version's folder"
    ABOVE = "a folder of repositories"
    OPEN = "a folder"


def location_of(path: Path) -> Location:
    """What lies at the path. Never raises: what cannot be read is OPEN, and whoever reads it next says why."""
    try:
        if not path.exists():
            return Location.NOTHING
        if not path.is_dir() or (is_saved_model(path) and version_number(path.absolute().name) is None):
            return Location.FILE
        return _kind_of_folder(path)
    except (OSError, ValueError):
        return Location.OPEN


def is_bare_model(location: str) -> bool:
    """Whether it is a model's file, or a SavedModel's folder, which is served without a repository round it."""
    return not is_object_store(location) and location_of(Path(location)) is Location.FILE


def repositories_below(path: Path) -> list[Path]:
    """The folders in this one that are repositories, sorted."""
    left = iter(range(MAX_LOOKED_AT))
    return [one for one in _folders(path, left) if _holds_models(one, left)]


def mistake_about(location: str) -> str:
    """What to name instead, where a path is something near to a repository but none; "" elsewhere."""
    path = Path(location)
    kind = Location.OPEN if is_object_store(location) else location_of(path)
    if kind is Location.MODEL:
        return (
            f"{location} is a model's folder, which holds its versions: name the folder above it as the repository, "
            f"{path.absolute().parent}, or look at this model with: atoll inspect {location}"
        )
    if kind is Location.VERSION:
        return (
            f"{location} is a version's folder, which holds a model's files: name the folder above the model's as the "
            f"repository, {path.absolute().parent.parent}, or a model file in it"
        )
    if kind is Location.ABOVE:
        return f"{location} holds repositories, and no models: name {_some(map(str, repositories_below(path)))}"
    return ""


def _some(names: Iterable[str], limit: int = 10) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _kind_of_folder(path: Path) -> Location:
    left = iter(range(MAX_LOOKED_AT))
    if _holds_models(path, left):
        return Location.REPOSITORY
    if _versions(path, left):
        return Location.MODEL
    with os.scandir(path) as entries:
        names = [entry.name for entry, _ in zip(entries, left, strict=False)]
    if version_number(path.absolute().name) is not None and guess_backend(names):
        return Location.VERSION
    return Location.ABOVE if repositories_below(path) else Location.OPEN


def _holds_models(path: Path, left: Iterator[int]) -> bool:
    return any(_versions(one, left) for one in _folders(path, left))


def _versions(path: Path, left: Iterator[int]) -> bool:
    """Whether the folder has folders of versions."""
    return any(version_number(one.name) is not None for one in _folders(path, left))


def _folders(path: Path, left: Iterator[int]) -> list[Path]:
    """Those in a folder, sorted; none where it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            # not entry.is_dir(), which raises for links in a circle
            found = [entry.name for entry, _ in zip(entries, left, strict=False) if os.path.isdir(entry)]
    except OSError:
        return []
    return [path / name for name in sorted(found) if not name.startswith(".")]
