"""`atoll key`: makes an API key, and the entry for the file of --api-key-file. The key itself is kept nowhere."""

import argparse
import fcntl
import json
import os
import stat
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from atoll.errors import AtollError, InvalidArgumentError
from atoll.frontends.access.key_file import read_expiry, read_key_file
from atoll.frontends.access.key_form import SHORTEST, hash_text, new_key
from atoll.frontends.access.keys import SCOPES

_HEAD = "keys:\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the entry says."""
    parser.add_argument("name", metavar="NAME", help="who the key is for, as logs are to call it")
    parser.add_argument(
        "--file", metavar="FILE", help="add the entry to this file, made if it is not there, and print the key alone"
    )
    parser.add_argument(
        "--models", action="append", metavar="GLOB", help="models that it is for, such as 'resnet*'; may be repeated"
    )
    parser.add_argument(
        "--scopes",
        action="append",
        choices=tuple(SCOPES),
        metavar="SCOPE",
        help=f"what it opens, inference if not given; may be repeated. One of {', '.join(SCOPES)}",
    )
    parser.add_argument("--requests-per-second", type=float, metavar="N", help="requests that it may send")
    parser.add_argument("--burst", type=int, metavar="N", help="requests that it may send at once after a pause")
    parser.add_argument("--expires", metavar="TIME", help="when it ends, such as 2027-01-31 or 2027-01-31T12:00:00Z")
    parser.add_argument(
        "--stdin",
        action="store_true",
        help=f"read a key that you have already, at least {SHORTEST} random characters, instead of making one",
    )


def run(namespace: argparse.Namespace) -> int:
    """0 where there is a key now, 1 where it could not be made or its file cannot be written."""
    try:
        key = _given() if namespace.stdin else new_key()
        entry = _entry(namespace, key)
        if namespace.file:
            _add(Path(namespace.file), entry)
    except AtollError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {namespace.file}: {error.strerror or error}", file=sys.stderr)
        return 1
    if namespace.file:
        print(key)
        print(
            f"added '{namespace.name}' to {namespace.file}; this is the only time that the key is shown",
            file=sys.stderr,
        )
    else:
        print(f"# the key, which is shown only now: {key}")
        print(f"# and its entry below keys: in the file of --api-key-file:\n{entry}", end="")
    return 0


def _given() -> str:
    key = sys.stdin.readline().strip()
    if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidArgumentError(
            f"a key has at least {SHORTEST} printable ASCII characters and no spaces: what can be guessed is no key"
        )
    return key


def _entry(namespace: argparse.Namespace, key: str) -> str:
    """A list's member in YAML, checked."""
    if namespace.expires is not None and read_expiry(namespace.expires) is None:
        raise InvalidArgumentError(f"--expires={namespace.expires}: expected 2027-01-31 or 2027-01-31T12:00:00Z")
    members: dict[str, Any] = {
        "name": namespace.name,
        "hash": hash_text(key),
        "models": namespace.models or ["*"],
        "scopes": namespace.scopes or ["inference"],
        "requests_per_second": namespace.requests_per_second,
        "burst": namespace.burst,
        "expires": namespace.expires,
    }
    lines = [f"{name}: {json.dumps(value)}" for name, value in members.items() if value is not None]  # YAML reads JSON
    entry = "  - " + "\n    ".join(lines) + "\n"
    read_key_file(_HEAD + entry, "the new entry")
    return entry


def _add(path: Path, entry: str) -> None:
    """Either the whole entry is in the file afterwards, or nothing has changed. Who adds at the same time waits."""
    path = path.resolve()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _add_alone(path, entry)
    finally:
        os.close(folder)


def _add_alone(path: Path, entry: str) -> None:
    owner = None
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InvalidArgumentError(f"{path} is no file to which an entry can be added")
        before = path.read_text(encoding="utf-8")
        mode, owner = found.st_mode & 0o777, (found.st_uid, found.st_gid)
    except FileNotFoundError:
        before, mode = "", 0o600
    except UnicodeDecodeError:
        raise InvalidArgumentError(f"{path} is no text in UTF-8") from None
    text = (before.rstrip("\n") + "\n" if before.strip() else _HEAD) + entry
    known = len(read_key_file(before, str(path))) if before.strip() else 0
    try:
        added = len(read_key_file(text, str(path))) - known
    except AtollError as error:
        raise InvalidArgumentError(f"the entry cannot stand at the end of {path}: {error}") from None
    if added != 1:
        raise InvalidArgumentError(f"the entry cannot stand at the end of {path}: without --file it is printed")
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8") as file:
        try:
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), *owner)  # or the server that reads it might not be able to any more
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
