"""A model from the files of a load request: written under one fresh folder of its own, and removed with it.

As with Triton, such a model consists of the request's files alone: none of its repository's own files are there. Its
configuration is the request's too. What the paths say comes from clients, so nothing is written before all of them have
been looked at.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import ConfigError, InternalError
from atoll.repositories.fingerprint import version_number
from atoll.repositories.names import shown, why_impossible
from atoll.repositories.repository import ModelFolder
from atoll.repositories.temporary import new_folder, remove_folder


@dataclass(frozen=True, slots=True)
class OverrideLimits:
    """What one load request may bring: bytes of content, files, and bytes and folders of a path."""

    total_bytes: int = 8 << 30
    files: int = 10_000
    path_bytes: int = 1024
    path_depth: int = 32


DEFAULT_LIMITS = OverrideLimits()


class TemporaryModel:
    """A model that lives as long as somebody needs its files. Whoever has it removes it, once."""

    def __init__(self, folder: ModelFolder, root: Path) -> None:
        self.folder = folder
        self._root = root
        self._lock = threading.Lock()
        self._removed = False

    def remove(self) -> None:
        """Delete the files. More calls do nothing. Thread-safe."""
        with self._lock:
            if self._removed:
                return
            self._removed = True
        remove_folder(self._root)


def write_override(
    name: str, files: Mapping[str, bytes], parent: Path | None = None, limits: OverrideLimits = DEFAULT_LIMITS
) -> TemporaryModel:
    """The model that these files make, on disk under a new folder (mode 0700) in `parent` (the system's temporary
    folder if None).

    `files`: paths relative to the model's folder ("1/model.onnx", "labels.txt") to contents.
    Raises ConfigError naming the path for one that is not of that form or leads elsewhere, for files without any
    version, and beyond `limits`; InternalError where the disk does not take them, nothing being left behind.
    """
    reason = why_impossible(name)
    if reason is not None:
        raise ConfigError(f"'{shown(name)}' cannot be loaded: {reason}")
    paths = _checked(name, files, limits)
    root = new_folder("atoll-model-", "a load request's files", parent)
    try:
        for path, parts in paths.items():
            file = root.joinpath(*parts)
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "xb") as writing:
                writing.write(files[path])
    except OSError as error:
        remove_folder(root)
        raise InternalError(
            f"cannot write the files of the load request for '{name}' under '{root}': {error}; free space there, or "
            "point TMPDIR elsewhere"
        ) from error
    except BaseException:
        remove_folder(root)
        raise
    versions = {number: root / str(number) for number in sorted(_versions(paths))}
    return TemporaryModel(ModelFolder(name, root, versions), root)


def _checked(name: str, files: Mapping[str, bytes], limits: OverrideLimits) -> dict[str, tuple[str, ...]]:
    """Each path's parts; every part is a plain name, and no file is another one's folder."""
    if len(files) > limits.files:
        raise ConfigError(
            f"the load request has {len(files)} files, {limits.files} are allowed; put the model into a repository "
            "instead"
        )
    size = sum(len(content) for content in files.values())
    if size > limits.total_bytes:
        raise ConfigError(
            f"the load request's files have {size} bytes, {limits.total_bytes} are allowed; put the model into a "
            "repository instead"
        )
    paths = {path: _parts(path, limits) for path in files}
    taken = set(paths.values())
    for path, parts in paths.items():
        for end in range(1, len(parts)):
            if parts[:end] in taken:
                raise _invalid(path, f"'{'/'.join(parts[:end])}' is a file of the same request and cannot hold another")
    if not _versions(paths):
        raise ConfigError(
            f"at least one version must be available under the version policy of model '{name}', and none of the "
            "request's files is in a version's folder: name one like 'file:1/model.onnx' (found: "
            + ", ".join(f"'file:{shown(path)}'" for path in list(paths)[:5])
            + ")"
        )
    return paths


def _parts(path: str, limits: OverrideLimits) -> tuple[str, ...]:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise _invalid(path, "it must be valid Unicode") from None
    if size > limits.path_bytes:
        raise _invalid(path, f"it has {size} bytes, {limits.path_bytes} are allowed")
    parts = tuple(path.split("/"))
    if not path:
        raise _invalid(path, "it names no file; write file:VERSION/FILENAME")
    if path.startswith("/"):
        raise _invalid(path, "it must be relative to the model's folder")
    if ".." in parts:
        raise _invalid(path, "it must stay within model directory")
    if "" in parts or "." in parts or "\0" in path or "\\" in path:
        raise _invalid(path, "it must consist of plain names with single slashes between them")
    if any(len(part.encode()) > 255 for part in parts):
        raise _invalid(path, "a name in it is longer than 255 bytes")
    if len(parts) > limits.path_depth:
        raise _invalid(path, f"it is {len(parts)} names deep, {limits.path_depth} are allowed")
    if len(parts) == 1 and version_number(path) is not None:
        raise _invalid(path, "a version is a folder; name a file in it")
    return parts


def _versions(paths: Mapping[str, tuple[str, ...]]) -> set[int]:
    numbers = {version_number(parts[0]) for parts in paths.values() if len(parts) > 1}
    return {number for number in numbers if number is not None}


def _invalid(path: str, reason: str) -> ConfigError:
    return ConfigError(f"Invalid file parameter 'file:{shown(path)}': {reason}")
