"""The agent that docs/repository-agents.md shows, installed as the page says, does what the page says."""

import gzip
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from atoll.config.model_config import ModelRepositoryAgents
from atoll.config.textproto import read_config_text
from atoll.errors import ConfigError
from atoll.repositories.agents.chain import AgentChain
from atoll.repositories.agents.registry import agent_names
from atoll.repositories.local import LocalRepository

pytestmark = pytest.mark.slow  # pip installs the package

PAGE = Path(__file__).parents[3] / "docs" / "repository-agents.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def block(language: str, part: str) -> str:
    (found,) = [text for tag, text in BLOCKS if tag == language and part in text]
    return found


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's package, put by pip into a folder of its own."""
    source, target = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "gunzip_agent.py").write_text(block("python", "class GunzipAgent"))
    (source / "pyproject.toml").write_text(block("toml", "gunzip-agent"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(str(target))
    monkeypatch.delitem(sys.modules, "gunzip_agent", raising=False)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))


def agents(part: str) -> ModelRepositoryAgents:
    found = read_config_text(block("text", part), "config.pbtxt").model_repository_agents
    assert found is not None
    return found


def test_a_compressed_model_is_unpacked_for_as_long_as_it_is_served(installed: None, tmp_path: Path) -> None:
    assert {"checksum", "gunzip"} <= set(agent_names())
    version = tmp_path / "repository/m/1"
    version.mkdir(parents=True)
    (version / "model.onnx.gz").write_bytes(gzip.compress(b"the model"))
    (version.parent / "config.pbtxt").write_text(block("text", '"gunzip"'))
    folder = LocalRepository(tmp_path / "repository").folder("m")
    config = read_config_text((version.parent / "config.pbtxt").read_text(), "config.pbtxt")
    chain = AgentChain.of(agents('"gunzip"'), folder, config)
    loaded = chain.load()
    assert (loaded.versions[1] / "model.onnx").read_bytes() == b"the model"
    assert (loaded.directory / "config.pbtxt").exists()
    assert not list(loaded.directory.rglob("*.gz"))
    chain.load_complete()
    chain.unload()
    chain.unload_complete()
    assert os.listdir(tmp_path / "scratch") == []
    assert os.listdir(version) == ["model.onnx.gz"]

    (version / "model.onnx.gz").write_bytes(b"\x1f\x8b half a file")
    with pytest.raises(ConfigError, match=r"cannot unpack model\.onnx\.gz of model 'm': "):
        AgentChain.of(agents('"gunzip"'), folder, config).load()
    assert os.listdir(tmp_path / "scratch") == []


def test_the_pages_checksum_is_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "m/1").mkdir(parents=True)
    (tmp_path / "m/1/model.onnx").write_bytes(b"test")  # the sum on the page is that of these four bytes
    folder = LocalRepository(tmp_path).folder("m")
    config = read_config_text(block("text", "SHA256"), "config.pbtxt")
    AgentChain.of(agents("SHA256"), folder, config).load()
    (tmp_path / "m/1/model.onnx").write_bytes(b"text")
    with pytest.raises(ConfigError, match=r"Mismatched SHA256 hash for file 1/model\.onnx, expect: 9f86d081"):
        AgentChain.of(agents("SHA256"), folder, config).load()
