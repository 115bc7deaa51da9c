"""What a folder of models, or a bare file, offers."""

import os
from pathlib import Path

import pytest

from atoll.errors import ConfigError, NotFoundError
from atoll.repositories.local import MAX_MODELS, LocalRepository


def write(root: Path, *paths: str) -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)


def test_models_versions_and_files(tmp_path: Path) -> None:
    write(tmp_path, "b/config.pbtxt", "b/2/model.onnx", "b/10/model.onnx/weights/0", "a/1/model.py", "README.md")
    repository = LocalRepository(str(tmp_path))
    assert repository.location == str(tmp_path)
    assert repository.names() == ["a", "b"]
    assert repository.files("b").keys() == {"config.pbtxt", "2/model.onnx", "10/model.onnx/weights/0"}
    folder = repository.folder("b")
    assert (folder.name, folder.directory, folder.repository) == ("b", tmp_path / "b", str(tmp_path))
    assert list(folder.versions.items()) == [(2, tmp_path / "b" / "2"), (10, tmp_path / "b" / "10")]
    assert folder.model_filename == ""


def test_what_is_no_model_and_no_version(tmp_path: Path) -> None:
    write(tmp_path, ".git/config", "lost+found/x", "m/1/model.onnx", "m/01/x", "m/0/x", "m/v2/x", "m/-3/x", "m/2.0/x")
    write(tmp_path, "m/٣/x", "m/99999999999999999999/x", "m/.4/x", "m/1/.model.onnx.swp", "m/.DS_Store")
    (tmp_path / "m" / "7").write_text("a file is no version")
    repository = LocalRepository(tmp_path)
    assert repository.names() == ["m"]
    assert list(repository.folder("m").versions) == [1]
    assert not [path for path in repository.files("m") if "/." in f"/{path}"]
    for name in (".git", "lost+found"):
        with pytest.raises(NotFoundError):
            repository.folder(name)


def test_a_model_without_versions_is_there(tmp_path: Path) -> None:
    write(tmp_path, "ensemble/config.pbtxt")
    assert LocalRepository(tmp_path).folder("ensemble").versions == {}


def test_each_call_looks_anew(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path)
    assert repository.names() == []
    write(tmp_path, "m/1/model.onnx")
    assert repository.names() == ["m"]
    before = repository.files("m")
    assert repository.files("m") == before
    (tmp_path / "m/1/model.onnx").write_text("longer than it was")
    assert repository.files("m").keys() == before.keys()
    assert repository.files("m") != before


def test_a_file_replaced_by_one_of_equal_size_and_time_is_another(tmp_path: Path) -> None:
    write(tmp_path, "m/1/model.onnx")
    repository = LocalRepository(tmp_path)
    before = repository.files("m")
    file, fresh = tmp_path / "m/1/model.onnx", tmp_path / "fresh"
    status = file.stat()
    fresh.write_text("M/1/model.onnx")
    os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
    fresh.rename(file)
    assert file.stat().st_size == status.st_size
    assert repository.files("m") != before


def test_the_repositorys_own_configuration(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path)
    assert repository.server_config() is None
    (tmp_path / "config.pbtxt").mkdir()
    assert repository.server_config() is None
    (tmp_path / "config.pbtxt").rmdir()
    write(tmp_path, "config.pbtxt")
    assert repository.server_config() == tmp_path / "config.pbtxt"
    assert repository.names() == []


def test_a_bare_file_is_a_repository_of_one(tmp_path: Path) -> None:
    write(tmp_path, "my.model.onnx", "other.onnx")
    repository = LocalRepository(tmp_path / "my.model.onnx")
    assert repository.names() == ["my.model"]
    assert repository.files("my.model").keys() == {"my.model.onnx"}
    folder = repository.folder("my.model")
    assert (folder.name, folder.directory, folder.model_filename) == ("my.model", tmp_path, "my.model.onnx")
    assert folder.versions == {1: tmp_path}
    assert repository.server_config() is None
    for call in (repository.files, repository.folder):
        with pytest.raises(NotFoundError, match="'other' not found in model repository"):
            call("other")


def test_a_saved_model_is_a_repository_of_one(tmp_path: Path) -> None:
    files = ["saved_model.pb", "variables/variables.index"]
    for file in files:
        path = tmp_path / "my.savedmodel" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    repository = LocalRepository(tmp_path / "my.savedmodel")
    assert repository.names() == ["my"]
    assert repository.server_config() is None
    folder = repository.folder("my")
    assert (folder.name, folder.directory, folder.model_filename) == ("my", tmp_path, "my.savedmodel")
    assert folder.versions == {1: tmp_path}
    before = repository.files("my")
    assert sorted(before) == [f"my.savedmodel/{file}" for file in files]
    (tmp_path / "my.savedmodel" / files[1]).write_bytes(b"longer")
    assert {key for key, one in repository.files("my").items() if before[key] != one} == {f"my.savedmodel/{files[1]}"}
    with pytest.raises(NotFoundError):
        repository.folder("variables")


def test_a_saved_model_in_a_versions_place_has_the_name_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "digits" / "3"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"x")
    assert LocalRepository(folder).names() == ["digits"]
    monkeypatch.chdir(folder)
    assert LocalRepository(".").names() == ["digits"]
    assert LocalRepository(".").folder("digits").model_filename == "3"


def test_a_link_out_of_a_saved_model_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "other").write_bytes(b"x")
    (folder / "variables").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match="outside of the repository"):
        LocalRepository(folder).folder("m")


def test_a_bare_file_may_be_given_by_a_link(tmp_path: Path) -> None:
    write(tmp_path, "store/abc")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "m.onnx").symlink_to(tmp_path / "store" / "abc")
    repository = LocalRepository(tmp_path / "here" / "m.onnx")
    assert repository.names() == ["m"]
    before = repository.files("m")
    (tmp_path / "store" / "abc").write_text("another")
    assert repository.files("m") != before
    assert repository.folder("m").model_filename == "m.onnx"


@pytest.mark.parametrize("call", ["names", "server_config", "files", "folder"])
def test_a_repository_that_is_not_there(tmp_path: Path, call: str) -> None:
    write(tmp_path, "file")
    for location in (tmp_path / "absent", tmp_path / "file" / "below"):
        with pytest.raises(NotFoundError, match=r"model repository path '.*' does not exist; check"):
            getattr(LocalRepository(location), call)(*(["m"] if call in ("files", "folder") else []))


def test_a_location_that_is_neither_folder_nor_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is neither a folder nor a model file; name the folder"):
        LocalRepository(tmp_path / "pipe").names()
    with pytest.raises(ConfigError, match="is no path"):
        LocalRepository("models\0").names()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (".", "begin with a dot"),
        ("..", "begin with a dot"),
        ("../other/m", "begin with a dot"),
        ("m/../../other/m", "slash"),
        ("m/1", "slash"),
        ("/etc", "slash"),
        ("m\0", "null"),
        ("\ud800", "valid Unicode"),
        ("m" * 256, "longer than 255 bytes, this one has 256"),
        ("é" * 128, "longer than 255 bytes, this one has 256"),
        ("m" * 1_000_000, "longer than 255"),
        ("absent", "no folder of that name"),
        ("README.md", "no folder of that name"),
    ],
)
def test_names_that_clients_may_send(tmp_path: Path, name: str, reason: str) -> None:
    write(tmp_path, "repository/m/1/model.onnx", "repository/README.md", "other/m/1/model.onnx")
    repository = LocalRepository(tmp_path / "repository")
    for call in (repository.files, repository.folder):
        with pytest.raises(NotFoundError, match=reason) as caught:
            call(name)
        assert len(str(caught.value).encode()) < 1000


def test_a_folder_whose_name_is_no_text_is_said_once_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "m/1/model.onnx")
    os.mkdir(os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    repository = LocalRepository(tmp_path)
    assert repository.names() == repository.names() == ["m"]
    assert [record.getMessage() for record in caplog.records] == [
        f"'caf\\udce9' in repository '{tmp_path}' is ignored: a model's name must be valid Unicode"
    ]


def test_a_folder_with_too_many_entries_is_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a/1/x", "b/1/x", "c/1/x")
    assert MAX_MODELS >= 10_000
    monkeypatch.setattr("atoll.repositories.local.MAX_MODELS", 2)
    with pytest.raises(ConfigError, match="more than 2 entries; is it the right folder"):
        LocalRepository(tmp_path).names()
