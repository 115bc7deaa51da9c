"""Wheels made on the spot, so that no test needs the network; a numpy among them that is only a name and a version."""

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from atoll.backends.python.environments import Interpreter, interpreter_for

MakeWheel = Callable[..., Path]


@pytest.fixture
def make_wheel(tmp_path: Path) -> MakeWheel:
    """make_wheel(name, version, code) -> the wheel, in the folder `links`."""
    links = tmp_path / "links"
    links.mkdir()

    def make(name: str, version: str = "1.0", code: str = "", requires: str = "") -> Path:
        information = f"{name}-{version}.dist-info"
        path = links / f"{name}-{version}-py3-none-any.whl"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        files = {
            f"{name}.py": code or f"VERSION = '{version}'\n",
            f"{information}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
            f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{one},,\n" for one in [*files, f"{information}/RECORD"])
        with zipfile.ZipFile(path, "w") as archive:
            for one, text in {**files, f"{information}/RECORD": record}.items():
                archive.writestr(one, text)
        return path

    make("numpy", "1.26.9", "__version__ = '1.26.9'\n")
    return make


@dataclass
class Bench:
    """A model's folder, an operator's settings, and what was said while an environment was chosen."""

    model: Path
    settings: dict[str, str]
    environment: dict[str, str]
    said: list[str] = field(default_factory=list)

    def choose(self, parameters: Mapping[str, str] | None = None) -> Interpreter:
        return interpreter_for(
            model_name="reader",
            model_directory=self.model,
            version_directory=self.model / "1",
            parameters=parameters or {},
            settings=self.settings,
            environment=self.environment,
            progress=self.said.append,
        )

    def require(self, text: str, folder: str = "1") -> Path:
        path = self.model / folder / "requirements.txt"
        path.write_text(text)
        return path

    @property
    def kept(self) -> list[str]:
        """The environments in the cache."""
        folder = Path(self.settings["environment-cache-directory"])
        return sorted(one.name for one in folder.iterdir() if len(one.name) == 40) if folder.exists() else []


@pytest.fixture
def bench(tmp_path: Path, make_wheel: MakeWheel) -> Bench:
    """Packages come from `links` alone."""
    (tmp_path / "reader" / "1").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PYTHON"))}
    settings = {
        "environment-cache-directory": str(tmp_path / "cache"),
        "find-links": str(tmp_path / "links"),
        "offline": "true",
    }
    return Bench(tmp_path / "reader", settings, {**environment, "UV_NO_INDEX": "1"})
