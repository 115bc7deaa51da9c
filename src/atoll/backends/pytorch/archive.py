"""The records of a .pt2 file, read as the ZIP archive that it is: nothing is unpickled, and sizes are bounded."""

import json
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

MAX_RECORD = 1 << 28  # bytes of a record that is looked at here; a program's text is far smaller
_OLD_PROGRAM = "serialized_exported_program.json"  # as PyTorch 2.6 and 2.7 save

# The end of a ZIP archive: its mark, disks, numbers of records, and the size and the offset of their list.
_END = struct.Struct("<4sHHHHIIH")
_LOCATOR = struct.Struct("<4sIQI")
_LONG_END = struct.Struct("<4sQHHIIQQQQ")

_PICKLED = ("/data/sample_inputs/", "/data/weights/", "/data/constants/", "/serialized_")


class Records:
    """An open archive's records, by their names without the folder that all of them are in."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        names = archive.namelist()
        if len({name.lower() for name in names}) != len(names):  # PyTorch may read the one where this reads the other
            raise ValueError("it has two records of one name")
        roots = {name.partition("/")[0] for name in names}
        prefix = f"{roots.pop()}/" if len(roots) == 1 else ""
        self._names = {name.removeprefix(prefix): name for name in names}

    def names(self, prefix: str = "") -> list[str]:
        """Those that start so, in the archive's order."""
        return [name for name in self._names if name.startswith(prefix)]

    def read(self, name: str) -> bytes:
        """A record. Raises ValueError where it is too large, or damaged."""
        size = self._archive.getinfo(self._names[name]).file_size
        if size > MAX_RECORD:
            raise ValueError(f"its record {name} has {size} bytes, more than {MAX_RECORD}")
        try:
            return self._archive.read(self._names[name])
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise ValueError(f"its record {name} is damaged: {error}") from error

    def document(self, name: str) -> dict[str, Any]:
        """A record that is JSON. Raises ValueError where it is none."""
        try:
            found = json.loads(self.read(name))
        except RecursionError as error:
            raise ValueError(f"its record {name} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"its record {name} is no JSON object")
        return found

    def program(self) -> dict[str, Any]:
        """The exported program. Raises ValueError where there is none."""
        name = next((one for one in ("models/model.json", _OLD_PROGRAM) if one in self._names), None)
        if name is None:
            others = [one[len("models/") : -len(".json")] for one in self.names("models/") if one.endswith(".json")]
            found = f"those named {', '.join(others)}" if others else "none"
            raise ValueError(f"it has no program named 'model', but {found}")
        return self.document(name)

    def pickles(self) -> Iterator[tuple[str, bool]]:
        """The records that torch.export.load may unpickle, each with whether it can do so as plain tensors alone.

        Wherever they lie in the archive: PyTorch and this module may not agree on the folder that all are in.
        """
        for name in self.names():
            place = f"/{name}".lower()
            if place.endswith(".pt") and any(folder in place for folder in _PICKLED):
                yield name, True
            elif place.endswith("_weights_config.json"):
                for path, _ in self._pickled_payloads(name):
                    yield path, True
            elif place.endswith("_constants_config.json"):
                for path, kind in self._pickled_payloads(name):
                    if not kind.startswith("custom_obj_"):  # read by C++, as objects of registered classes
                        yield path, not kind.startswith("opaque_obj_")

    def _pickled_payloads(self, config: str) -> Iterator[tuple[str, str]]:
        """Of what such a record lists, the records that are pickles, and their names there."""
        for payload in dict(self.document(config).get("config") or {}).values():
            name = str(payload.get("path_name", ""))
            if payload.get("use_pickle") or name.startswith("opaque_obj_"):
                yield f"{config.rpartition('/')[0]}/{name}", name


@contextmanager
def records_of(path: Path) -> Iterator[Records]:
    """Those of a file. Raises ValueError where it is no whole archive, and OSError where it cannot be read."""
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise ValueError(f"it is no whole archive: {error}") from error
        with archive:
            _check_end(file)
            yield Records(archive)


def _check_end(file: BinaryIO) -> None:
    """Raises ValueError unless the list of records ends where the archive does, with nothing before its first record or
    after its end: where that is so PyTorch looks for the list at one place, Python's zipfile at another.
    """
    end = file.seek(0, os.SEEK_END) - _END.size
    file.seek(end)
    mark, _, _, _, _, size, offset, comment = _END.unpack(file.read(_END.size))
    if mark != b"PK\5\6" or comment:
        raise ValueError("it is no archive of PyTorch's: something follows its end")
    before = end - _LOCATOR.size
    file.seek(max(before, 0))
    mark, _, at, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if mark == b"PK\6\7":  # as in files beyond 4 GiB
        end = before - _LONG_END.size
        file.seek(max(end, 0))
        mark, *_, size, offset = _LONG_END.unpack(file.read(_LONG_END.size))
        if mark != b"PK\6\6" or at != end:
            raise ValueError("it is no archive of PyTorch's: its end is in two places")
    if offset + size != end:
        raise ValueError("it is no archive of PyTorch's: its list of records is not where its end says")
