"""A model in a test: written to a folder, initialized, finalized at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.backends.python.recording import OK, RecordingHost, Start, make_model, write_model

from atoll.backends.python.runner import PythonModel


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


@pytest.fixture
def start(tmp_path: Path, host: RecordingHost) -> Iterator[Start]:
    """Initializes a model whose `execute` has this body; finalized at the end."""
    started: list[PythonModel] = []

    def begin(body: str, *, decoupled: bool = False, prefix: str = "", more: str = "") -> PythonModel:
        lines = "".join(f"        {line}\n" for line in body.splitlines())
        code = f"{OK}\nclass TritonPythonModel:\n    {prefix}def execute(self, requests):\n{lines}\n{more}"
        model = make_model(write_model(tmp_path / "m", code), host, decoupled=decoupled)
        model.initialize()
        started.append(model)
        return model

    yield begin
    for model in started:
        model.finalize()
