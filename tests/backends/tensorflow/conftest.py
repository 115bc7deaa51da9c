"""A server of models that TensorFlow exports on the spot."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.backends.config_text import parameter_text

from atoll import Server


class Served:
    """Models in a repository, and the server that loads them when it is told to."""

    def __init__(self, root: Path, stack: ExitStack):
        self.root = root
        self._stack = stack
        self._server: Server | None = None
        self.settings: Sequence[str] = ()

    @property
    def server(self) -> Server:
        if self._server is None:
            server = Server(self.root, model_control_mode="explicit", backend_config=self.settings)
            self._server = self._stack.enter_context(server)
        return self._server

    def folder(self, config: str = "", name: str = "m") -> Path:
        """A new model's folder of version 1."""
        folder = self.root / name / "1"
        folder.mkdir(parents=True)
        (folder.parent / "config.pbtxt").write_text(f'backend: "tensorflow"\n{config}')
        return folder

    def load(self, name: str = "m") -> Any:
        """Its configuration, once it is loaded."""
        self.server.load_model(name)
        return self.server.model(name).config

    def infer(self, *, name: str = "m", outputs: Sequence[str] = (), **inputs: Any) -> Any:
        return self.server.infer(name, inputs, outputs=outputs, timeout=60)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield Served(tmp_path, stack)


Parameter = Callable[..., str]


@pytest.fixture
def parameter() -> Parameter:
    """Writes a parameter into a configuration."""
    return parameter_text
