"""What a requirements.txt asks for, as far as the cache must know: its lines, the files it names, and a digest of all.

uv reads the file itself, and says what is wrong with a requirement. Relative paths are relative to the folder of the
file that the model has, as when `pip install -r requirements.txt` is typed there; those of -r and -c are relative to
the file that says so.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from atoll.errors import ConfigError

_LONGEST_FILE = 1 << 20  # bytes of one requirements file
_MOST_FILES = 64  # that one may pull in by -r and -c
_MOST_LOCAL_FILES = 20_000  # in one folder that is a requirement
_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDE = re.compile(r"(?:-r|-c)\s*(?P<short>\S.*)|--(?:requirement|constraint)(?:\s+|=)(?P<long>\S.*)")
_EDITABLE = re.compile(r"-e\b|--editable\b")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_NAMED = re.compile(r"[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\])?\s*@\s*(?P<place>\S+)")


@dataclass(frozen=True, slots=True)
class Requirements:
    """A requirements file: two of the same `digest` (hexadecimal) ask for the same.

    `pinned_by_hash`: it says --require-hashes, so that nothing can be asked for beside it.
    """

    path: Path
    digest: str
    pinned_by_hash: bool


def read_requirements(path: Path, variables: Mapping[str, str]) -> Requirements:
    """Reads the file and all that it names on this machine; `variables` may stand in it as ${NAME}.

    Raises ConfigError naming file and line.
    """
    path = path.absolute()
    digest = hashlib.sha256()
    pinned = False
    pending = [path]
    seen: set[Path] = set()
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        if len(seen) > _MOST_FILES:
            raise ConfigError(f"{path} pulls in more than {_MOST_FILES} files; put them together")
        _add(digest, "file")
        for number, line in logical_lines(_text(file)):
            if _EDITABLE.match(line):
                raise ConfigError(
                    f"{file}:{number}: '{line[:200]}' installs in editable mode, but environments are kept apart from "
                    "the model's folder; leave out -e"
                )
            _add(digest, line)
            for name in _VARIABLE.findall(line):
                _add(digest, variables.get(name, ""))
            if match := _INCLUDE.match(line):
                target = match["short"] or match["long"]
                if "://" not in target:
                    pending.append(Path(os.path.normpath(file.parent / target.strip())))
            elif line.startswith("--require-hashes"):
                pinned = True
            elif not line.startswith("-"):
                local = _local(line, path.parent)
                if local is not None:
                    for text in _contents(local, f"{file}:{number}"):
                        _add(digest, text)
    return Requirements(path, digest.hexdigest(), pinned)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with the number of the first of each: joined where one ends in a backslash, without
    comments, each run of blanks one blank.
    """
    start = 0
    joined = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not joined:
            start = number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            joined += line[:-1] + " "
            continue
        whole = " ".join(_COMMENT.sub("", joined + line).split())
        joined = ""
        if whole:
            yield start, whole
    whole = " ".join(_COMMENT.sub("", joined).split())
    if whole:
        yield start, whole


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"the requirements file {file} cannot be read: {error.strerror or error}") from error
    if len(data) > _LONGEST_FILE:
        raise ConfigError(f"the requirements file {file} has more than {_LONGEST_FILE >> 20} MiB; is it one?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: the requirements file is not UTF-8 text") from error


def _local(line: str, directory: Path) -> Path | None:
    """The file or folder of this machine that a requirement is, if it is one."""
    named = _NAMED.match(line)
    place = named["place"] if named else line.split(" ; ")[0].split(" --")[0].split(" ")[0].split("[")[0]
    if place.startswith("file:"):
        place = unquote(urlsplit(place).path)
    elif "://" in place or "${" in place:
        return None
    if not place or "\0" in place:
        return None
    found = directory / place
    is_path = "/" in place or place.endswith((".whl", ".tar.gz", ".zip")) or named is not None
    return found if is_path and os.path.lexists(found) else None


def _contents(place: Path, where: str) -> Iterator[str]:
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    if len(files) > _MOST_LOCAL_FILES:
        raise ConfigError(f"{where}: the folder {place} holds more than {_MOST_LOCAL_FILES} files; give a wheel of it")
    for file in files:
        if not file.is_file():
            continue
        try:
            with file.open("rb") as stream:
                yield f"{file.relative_to(place)} {hashlib.file_digest(stream, 'sha256').hexdigest()}"
        except OSError as error:
            raise ConfigError(f"{where}: {file} cannot be read: {error.strerror or error}") from error


def _add(digest: hashlib._Hash, text: str) -> None:
    data = text.encode(errors="surrogateescape")
    digest.update(b"%d:" % len(data) + data)
