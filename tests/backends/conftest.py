"""What tests of all backends share: a repository to write models into, a server in this process, a server process."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.backends.served import Serve, ServerProcess

from atoll import Server

Content = bytes | str | Callable[[Path], object]


class RepositoryWriter:
    """Writes models into a repository: `path` is what a server is given."""

    def __init__(self, path: Path):
        self.path = path

    def model(
        self, name: str, config: str | None = None, files: Mapping[str, Content] | None = None, *, version: int = 1
    ) -> Path:
        """A model with the text of its config.pbtxt, if it has one, and the files of a version: what is in them, or
        what writes them when it is called with their path. Returns the version's folder.
        """
        folder = self.path / name / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        if config is not None:
            (folder.parent / "config.pbtxt").write_text(config)
        for file, content in (files or {}).items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif isinstance(content, str):
                path.write_text(content)
            else:
                content(path)
        return folder


@pytest.fixture
def repository(tmp_path: Path) -> RepositoryWriter:
    """An empty repository."""
    path = tmp_path / "repository"
    path.mkdir()
    return RepositoryWriter(path)


StartServer = Callable[..., Server]


@pytest.fixture
def start_server(repository: RepositoryWriter) -> Iterator[StartServer]:
    """Starts an `atoll.Server` of the repository, with these options; it ends with the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> Server:
            return stack.enter_context(Server(repository.path, **options))

        yield start


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts an `atoll serve` process; it ends with the test."""
    started: list[ServerProcess] = []

    def start(repository: Path, *arguments: str, env: Mapping[str, str] | None = None) -> ServerProcess:
        started.append(ServerProcess(repository, arguments, env))
        return started[-1]

    yield start
    for one in started:
        one.stop()
