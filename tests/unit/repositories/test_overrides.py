"""Models from the files of a load request: on disk as asked, or nothing at all on disk."""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.errors import ConfigError, InternalError
from atoll.repositories import overrides, temporary
from atoll.repositories.fingerprint import version_number
from atoll.repositories.overrides import OverrideLimits, write_override

MODEL = {"1/model.onnx": b"one", "10/model.onnx": b"ten", "10/weights/0": b"", "labels.txt": b"cat\n"}


def on_disk(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_the_files_are_there_until_they_are_removed(tmp_path: Path) -> None:
    model = write_override("m", MODEL, tmp_path)
    folder = model.folder
    assert folder.name == "m"
    assert list(folder.versions.items()) == [(1, folder.directory / "1"), (10, folder.directory / "10")]
    assert on_disk(folder.directory) == MODEL
    assert os.listdir(tmp_path) == [folder.directory.name]
    assert stat.S_IMODE(folder.directory.stat().st_mode) == 0o700
    model.remove()
    model.remove()
    assert os.listdir(tmp_path) == []


def test_two_models_of_one_name_share_nothing(tmp_path: Path) -> None:
    first, second = (write_override("m", {"1/a": content}, tmp_path) for content in (b"first", b"second"))
    first.remove()
    assert on_disk(second.folder.directory) == {"1/a": b"second"}


def test_the_systems_temporary_folder_is_taken_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert write_override("m", {"1/a": b""}).folder.directory.parent == tmp_path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "it names no file"),
        ("/etc/passwd", "it must be relative to the model's folder"),
        ("//etc/passwd", "it must be relative"),
        ("..", "it must stay within model directory"),
        ("../evil", "it must stay within model directory"),
        ("1/../../evil", "it must stay within model directory"),
        ("1/..", "it must stay within model directory"),
        (".", "plain names"),
        ("1/./a", "plain names"),
        ("1//a", "plain names"),
        ("1/a/", "plain names"),
        ("1/", "plain names"),
        ("1/a\0", "plain names"),
        ("1\\..\\..\\a", "plain names"),
        ("1", "a version is a folder; name a file in it"),
        ("1/\udcff", "valid Unicode"),
        ("1/" + "a" * 256, "longer than 255 bytes"),
        ("1/" + "é" * 128, "longer than 255 bytes"),
        ("1/" + "a/" * 40 + "a", "it is 42 names deep, 32 are allowed"),
        ("1/" + "a" * 200_000, "it has 200002 bytes, 1024 are allowed"),
    ],
)
def test_paths_that_are_refused(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        write_override("m", {"2/model.onnx": b"", path: b"evil"}, tmp_path / "parent")
    assert str(caught.value).startswith("Invalid file parameter 'file:")
    assert len(str(caught.value).encode()) < 1000
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "at least one version must be available"),
        ({"labels.txt": b"", "01/model.onnx": b"", "v1/model.onnx": b""}, "found: 'file:labels.txt', 'file:01/model"),
        ({"1/a": b"", "1/a/b": b""}, "'1/a' is a file of the same request and cannot hold another"),
        ({"1/a/b/c": b"", "1/a": b""}, "Invalid file parameter 'file:1/a/b/c': '1/a' is a file"),
    ],
)
def test_files_that_make_no_model(tmp_path: Path, files: Mapping[str, bytes], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        write_override("m", files, tmp_path)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "../m", "a/b", "/m", "m\0", "m" * 256, "\ud800"])
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a model's name must"):
        write_override(name, MODEL, tmp_path)
    assert not os.listdir(tmp_path)


def test_what_is_too_much(tmp_path: Path) -> None:
    limits = OverrideLimits(total_bytes=6, files=3, path_bytes=12, path_depth=2)
    write_override("m", {"1/model.onnx": b"123", "2/model.onnx": b"456", "x": b""}, tmp_path, limits).remove()
    for files, reason in (
        ({"1/a": b"1234", "2/a": b"567"}, "the load request's files have 7 bytes, 6 are allowed; put the model into a"),
        ({"1/a": b"", "1/b": b"", "1/c": b"", "1/d": b""}, "the load request has 4 files, 3 are allowed"),
        ({"10/model.onnx": b""}, "it has 13 bytes, 12 are allowed"),
        ({"1/a/b": b""}, "it is 3 names deep, 2 are allowed"),
    ):
        with pytest.raises(ConfigError, match=reason):
            write_override("m", files, tmp_path, limits)
    assert not os.listdir(tmp_path)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    real = open
    written = []

    def full(file: Path, mode: str) -> object:
        written.append(file)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return real(file, mode)

    overrides.__dict__["open"] = full
    try:
        with pytest.raises(InternalError, match=r"No space left on device; free space there, or point TMPDIR"):
            write_override("m", MODEL, tmp_path)
    finally:
        del overrides.__dict__["open"]
    assert len(written) == 3
    assert not os.listdir(tmp_path)


def test_what_cannot_be_removed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_override("m", MODEL, tmp_path)
    with monkeypatch.context() as context:
        context.setattr(temporary.shutil, "rmtree", lambda folder, ignore_errors: None)
        model.remove()
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot remove '{model.folder.directory}' with all that is in it; its disk space stays in use: delete it"
    ]


def test_a_parent_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match=r"cannot make a folder for a load request's files: .*absent"):
        write_override("m", MODEL, tmp_path / "absent")


NAMES = st.sampled_from(["1", "2", "a", "b", "..", ".", "", "model.onnx", "é", "\0", "~", "01"])
PATHS = st.lists(NAMES, max_size=4).map("/".join) | st.text(max_size=12)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(PATHS, st.binary(max_size=4), max_size=5))
@pytest.mark.slow
def test_either_exactly_these_files_or_nothing(tmp_path: Path, files: dict[str, bytes]) -> None:
    around = set(tmp_path.parent.iterdir())
    parent = tmp_path / "parent"
    parent.mkdir(exist_ok=True)
    try:
        model = write_override("m", files, parent)
    except ConfigError:
        assert not os.listdir(parent)
    else:
        assert os.listdir(parent) == [model.folder.directory.name]
        assert on_disk(model.folder.directory) == files
        folders = {path.partition("/")[0] for path in files if "/" in path}
        assert set(model.folder.versions) == {version_number(name) for name in folders} - {None}
        model.remove()
        assert not os.listdir(parent)
    assert os.listdir(tmp_path) == ["parent"]
    assert set(tmp_path.parent.iterdir()) == around
