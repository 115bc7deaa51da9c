"""From the names of a model's objects to the files they become on disk; names that no file may have are refused.

An object store has no folders, and its names may be anything: `..`, two slashes in a row, control characters. What is
decided here is pure; nothing is written under a name that did not pass.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.errors import ConfigError
from atoll.repositories.fingerprint import version_number

MAX_OBJECTS = 100_000  # of one model
MAX_SEGMENT_BYTES = 255  # what file systems take for one name
MAX_PATH_BYTES = 1024  # S3's and Azure's longest object name


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as its store lists it. `path` is relative to the model; `token` changes when the content does."""

    key: str
    path: str
    size: int
    token: str
    etag: str = ""
    """As the store wrote it; empty where it has none."""

    @property
    def blob(self) -> str:
        """The name under which this is kept on disk. An ETag tells versions of one object apart, not objects."""
        return digest(self.key, self.token, str(self.size))


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What becomes of a model's objects: files, and folders that hold nothing."""

    files: tuple[StoredObject, ...]
    folders: tuple[str, ...]

    @property
    def state(self) -> str:
        """A name for exactly these files with exactly this content."""
        return digest(*self.folders, "", *(part for one in self.files for part in (one.path, one.blob)))


def digest(*parts: str) -> str:
    """32 hexadecimal digits for these texts, in this order."""
    whole = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def check_segment(segment: str, where: str) -> None:
    """Raises ConfigError for a name that is no plain file name; `where` is what it is a part of."""
    if segment in ("", ".", ".."):
        fault = f"'{segment}'" if segment else "an empty name (two slashes in a row)"
    elif "/" in segment or "\\" in segment:
        fault = f"a slash or backslash in {segment!r}"
    elif any(ord(character) < 32 or ord(character) == 127 for character in segment):
        fault = f"a control character in {segment!r}"
    elif any(0xD800 <= ord(character) <= 0xDFFF for character in segment):
        fault = f"text that is not Unicode in {segment!r}"
    elif len(segment.encode()) > MAX_SEGMENT_BYTES:
        fault = f"a name of more than {MAX_SEGMENT_BYTES} bytes, '{segment[:40]}...',"
    else:
        return
    raise ConfigError(
        f"{ascii(where)[1:-1][:400]} has {fault} in its path: no file can have such a name; give it another"
    )


def check_path(path: str, where: str) -> None:
    """Raises ConfigError for an object's relative path that cannot be the path of a file inside the model's folder."""
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise ConfigError(f"{where[:80]}... has a path of more than {MAX_PATH_BYTES} bytes: rename the object")
    for segment in path.split("/"):
        check_segment(segment, where)


def arrange(objects: Sequence[StoredObject], where: str) -> Arrangement:
    """Sorts a model's objects into files and empty folders; `where` is the model's location.

    A marker of a folder, which consoles and tools write, is an empty object. It is known by the objects below it, or,
    where nothing lies below, by being a version's number directly in the model: ensembles have such version folders.
    Raises ConfigError for hostile names, for an object below another one, and for two of one name.
    """
    if len(objects) > MAX_OBJECTS:
        raise ConfigError(f"{where} has more than {MAX_OBJECTS} objects: a model may have no more")
    parents: set[str] = set()
    for one in objects:
        if not one.path:
            continue  # the marker of the model's own folder
        check_path(one.path, f"{where}/{one.path}")
        parts = one.path.split("/")
        parents.update("/".join(parts[:end]) for end in range(1, len(parts)))
    files: dict[str, StoredObject] = {}
    folders: set[str] = set()
    for one in sorted(objects, key=lambda each: each.path):
        if not one.path:
            continue
        if one.path in parents:
            if one.size:
                raise ConfigError(
                    f"{where}/{one.path} is an object of {one.size} bytes, and others lie below it as if it were a "
                    "folder: no disk can hold both; rename one"
                )
        elif not one.size and version_number(one.path) is not None:
            folders.add(one.path)
        elif one.path in files:
            raise ConfigError(f"{where}/{one.path} is listed twice: the object store's listing cannot be used")
        else:
            files[one.path] = one
    return Arrangement(tuple(files.values()), tuple(sorted(folders)))
