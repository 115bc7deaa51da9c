"""`atoll key`: what it prints, and what it does to a file."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.cli.main import main
from atoll.frontends.access.key_file import read_key_file
from atoll.frontends.access.key_form import digest_of, new_key


def test_the_key_and_its_entry_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "team a"]) == 0
    text = capsys.readouterr().out
    key = text.splitlines()[0].rpartition(" ")[2]
    (record,) = read_key_file("keys:\n" + text, "f")
    assert (record.name, record.digest, record.scopes) == ("team a", digest_of(key), ("inference",))


def test_an_entry_is_added_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.yaml"
    assert main(["key", "a", "--file", str(file)]) == 0
    first = capsys.readouterr().out
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text(f"# ours\n{file.read_text()}\n\n# the end, without a line's end")
    file.chmod(0o640)
    words = ("--models", "resnet*", "--models", "bert", "--scopes", "admin", "--requests-per-second", "2.5")
    assert main(["key", "b", "--file", str(file), *words, "--burst", "9", "--expires", "2030-01-31"]) == 0
    second = capsys.readouterr().out
    text = file.read_text()
    assert text.startswith("# ours\n")
    one, other = read_key_file(text, "f")
    assert (one.digest, other.digest) == (digest_of(first.strip()), digest_of(second.strip()))
    assert (other.models, other.scopes) == (("resnet*", "bert"), ("admin",))
    assert other.rate is not None
    assert (other.rate.requests_per_second, other.rate.burst) == (2.5, 9)
    assert first.strip() not in text
    assert file.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["keys.yaml"]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("keys: [{name: a, hash: x}]", "the hash of the key"),
        ("keys: []", "cannot stand at the end"),
        (json.dumps({"keys": []}), "cannot stand at the end"),
        (f"keys:\n  - name: a\n    hash: 'sha256:{'0' * 64}'\n", "two keys have the same name"),
        ("more: 1\n", "no list of keys"),
    ],
)
def test_a_file_that_it_cannot_be_added_to_stays(
    tmp_path: Path, before: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys"
    file.write_text(before)
    assert main(["key", "a", "--file", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert file.read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == ["keys"]


def test_a_key_that_there_is_already(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    key = new_key()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
    assert main(["key", "a", "--stdin"]) == 0
    (record,) = read_key_file("keys:\n" + capsys.readouterr().out, "f")
    assert record.digest == digest_of(key)


@pytest.mark.parametrize("key", ["", "password1", "x" * 31, "x" * 20 + " " + "x" * 20, "ä" * 40])
def test_what_can_be_guessed_is_no_key(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
    assert main(["key", "a", "--stdin"]) == 1
    assert "what can be guessed is no key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [
                "",
            ],
            "each key has a name",
        ),
        (["a", "--expires", "soon"], "--expires=soon"),
        (["a", "--burst", "3"], "no rate beside it"),
        (["a", "--requests-per-second", "0"], "this is no rate"),
        (["a", "--file", "/nowhere/keys"], "/nowhere/keys: No such file"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", *words]) == 1
    assert said in capsys.readouterr().err


def test_another_scope_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["key", "a", "--scopes", "root"])
    assert "invalid choice: 'root'" in capsys.readouterr().err


def test_keys_that_are_made_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    command = [sys.executable, "-m", "atoll", "key", "--file", str(file)]
    running = [subprocess.Popen([*command, f"team {number}"], stdout=subprocess.PIPE) for number in range(4)]
    keys = [one.communicate(timeout=60)[0].decode().strip() for one in running]
    assert {one.digest for one in read_key_file(file.read_text(), "f")} == {digest_of(key) for key in keys}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_stays_the_server_s_when_root_adds_to_it(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    assert main(["key", "a", "--file", str(file)]) == 0
    os.chown(file, 4711, 4712)
    file.chmod(0o640)
    assert main(["key", "b", "--file", str(file)]) == 0
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (4711, 4712, 0o640)


def test_a_link_leads_to_the_file_and_a_pipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "keys"
    link.symlink_to("real/keys")
    assert main(["key", "a", "--file", str(link)]) == 0
    assert link.is_symlink()
    assert len(read_key_file((tmp_path / "real" / "keys").read_text(), "f")) == 1
    assert [one.name for one in (tmp_path / "real").iterdir()] == ["keys"]
    os.mkfifo(tmp_path / "pipe")
    assert main(["key", "a", "--file", str(tmp_path / "pipe")]) == 1
    assert "no file" in capsys.readouterr().err
