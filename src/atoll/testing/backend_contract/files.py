"""That a file which is none of its models is refused by its name, whatever it is, and nobody else suffers."""

import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from atoll.backends.model_kind import kind_of, wrong_kind
from atoll.backends.registry import find_backend
from atoll.errors import ConfigError
from atoll.server import Server
from atoll.testing.backend_contract.making import Making
from atoll.testing.backend_contract.workshop import VERSION, Workshop

LONGEST_ERROR = 4000  # characters: it goes to clients, to the log, and to the repository index


def _torchscript(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("model/data.pkl", "model/code/__torch__.py", "model/constants.pkl", "model/version"):
            archive.writestr(name, b"1\n")


def _onnx(path: Path) -> None:
    path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x032.6:\x00B\x04\x0a\x00\x10\x11")


def _cut_off(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "git-lfs": lambda path: path.write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
    ),
    "web page": lambda path: path.write_bytes(b"<!DOCTYPE html>\n<html><title>Not found</title></html>\n"),
    "noise": lambda path: path.write_bytes(np.random.default_rng(1).bytes(5000)),
    "TorchScript": _torchscript,
    "ONNX": _onnx,
    "cut off": _cut_off,
}


class FilesContract(Making):
    """Files that are wrong."""

    @pytest.mark.parametrize("damage", DAMAGE)
    def test_a_wrong_file_is_refused_by_its_name(
        self, workshop: Workshop, server: Server, repository: Path, damage: str
    ) -> None:
        if damage == "cut off":
            self.needs("cut off")
        made = self.identity_model(workshop)
        good, bad = workshop.fresh_name(), workshop.fresh_name()
        workshop.put(repository, good, made)
        server.load_model(good)
        path = self.damaged(workshop.put(repository, bad, made))
        DAMAGE[damage](path)
        kind = kind_of(path)
        if damage != "cut off" and kind is not None and kind.backend == self.backend.name:
            pytest.skip("that is a file of this backend's own kind")
        self._refused_by_the_backend(workshop, damage)
        with pytest.raises(ConfigError) as refusal:
            server.load_model(bad)
        text = str(refusal.value)
        assert len(text) < LONGEST_ERROR, f"{len(text)} characters"
        assert str(self.named(path, repository / bad)) in text, f"it does not name the file {path}: {text}"
        assert wrong_kind(path, self.backend.name) in text, f"it does not say what the file is: {text}"
        states = {one.name: one.state for one in server.repository_index()}
        assert states[bad] == "UNAVAILABLE"
        assert states[good] == "READY"
        server.unload_model(good)

    def test_a_model_that_was_mended_loads(self, workshop: Workshop, server: Server, repository: Path) -> None:
        made = self.identity_model(workshop)
        name = workshop.fresh_name()
        path = self.damaged(workshop.put(repository, name, made))
        path.unlink()
        with pytest.raises(ConfigError):
            server.load_model(name)
        workshop.put(repository, name, made)
        server.load_model(name)
        assert server.model_ready(name)
        server.unload_model(name)

    def _refused_by_the_backend(self, workshop: Workshop, damage: str) -> None:
        """What a server makes of an error of any class, a backend says itself, each time that it is asked."""
        backend = find_backend(self.backend.name)
        folder = workshop.put(workshop.folder(), "m", self.identity_model(workshop))
        _, source = workshop.complete(folder)
        DAMAGE[damage](self.damaged(folder))
        with suppress(ConfigError):
            backend.signature(workshop.written_source(folder))
        with pytest.raises(ConfigError):
            backend.load(source)

    def damaged(self, folder: Path) -> Path:
        """The file of a model that tests damage."""
        path = folder / str(VERSION) / (self.model_file or self.backend.default_model_filename)
        assert path.is_file(), f"the maker wrote no file {path}: say with `model_file` which one tests can damage"
        return path

    def named(self, path: Path, folder: Path) -> Path:
        """What errors must name at least: the file, or the folder that is the model."""
        return folder / str(VERSION) / path.relative_to(folder / str(VERSION)).parts[0]
