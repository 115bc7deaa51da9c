"""Data files of a model's folder: what is no file of it is refused, and nothing stays open for it."""

import os
from pathlib import Path

import pytest

from atoll.errors import ConfigError
from atoll.execution.model_file import read_model_file


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_no_regular_file_is_refused_and_closed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = opened()
    for name in ("folder", "pipe", "missing", "a" * 300):
        with pytest.raises(ConfigError, match="failed to open text file for read"):
            read_model_file(tmp_path, name, 100)
    assert opened() == before


@pytest.mark.parametrize("name", ["", "/etc/hostname", "../x", "below/../../x", "nul\0"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="does not name a file inside"):
        read_model_file(tmp_path, name, 100)


def test_so_much_is_read_as_is_asked_for_of_no_more_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"0123456789")
    assert read_model_file(tmp_path, "data", 10) == b"0123456789"
    assert read_model_file(tmp_path, "data", 10, 4) == b"0123"
    with pytest.raises(ConfigError, match="has 10 bytes, which is too large"):
        read_model_file(tmp_path, "data", 9)
