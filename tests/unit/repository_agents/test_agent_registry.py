"""Agents come in by entry point, ours and others'."""

import sys
from pathlib import Path

import pytest

from atoll.errors import InternalError, NotFoundError
from atoll.repositories.agents.checksum import ChecksumAgent
from atoll.repositories.agents.registry import agent_names, find_agent


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A package with the agents `theirs`, as pip would leave it."""
    (folder / "theirs_1234.py").write_text(source)
    info = folder / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[atoll.repository_agents]\ntheirs = theirs_1234:Agent\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "theirs_1234", raising=False)


def test_the_built_in_one() -> None:
    assert "checksum" in agent_names()
    assert find_agent("checksum") is ChecksumAgent


def test_another_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "class Agent:\n    def act(self, action, model):\n        return model\n")
    assert {"checksum", "theirs"} <= set(agent_names())
    assert find_agent("theirs")().act(None, 5) == 5  # type: ignore[arg-type]


def test_one_that_nobody_offers() -> None:
    with pytest.raises(NotFoundError, match=r"'nope': no installed package offers it. Installed agents: checksum"):
        find_agent("nope")


@pytest.mark.parametrize("source", ["import nothing_of_that_name", "1 / 0", "other = 5"])
def test_one_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    install(tmp_path, monkeypatch, source)
    with pytest.raises(InternalError, match=r"repository agent 'theirs' \(theirs_1234:Agent\) cannot be imported: \w"):
        find_agent("theirs")
