"""Whether a model's instances start together, or one after another."""

from pathlib import Path

import pytest
from tests.unit.server.python_repository import nothing_left, serving, write_python

MODEL = """
class TritonPythonModel:
    def initialize(self, args):
        note(NOTES, "(")
        while ALL and open(NOTES).read().count("(") < 3:
            time.sleep(0.001)
        note(NOTES, ")")
    def execute(self, requests):
        return [answer(value(request)) for request in requests]
"""


def starts(repository: Path, *, wait_for_all: bool) -> str:
    notes = write_python(repository, "m", f"ALL = {wait_for_all}\n{MODEL}", instances=3)
    with nothing_left(), serving(repository):
        return notes.read_text()


@pytest.mark.parametrize("said", [None, "1"])
def test_they_start_together(said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_PARALLEL_INSTANCE_LOADING", raising=False)
    if said is not None:
        monkeypatch.setenv("TRITON_PARALLEL_INSTANCE_LOADING", said)
    assert starts(tmp_path, wait_for_all=True) == "((()))"


def test_one_after_another_where_the_environment_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_PARALLEL_INSTANCE_LOADING", "0")
    assert starts(tmp_path, wait_for_all=False) == "()()()"
