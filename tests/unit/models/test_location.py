"""What a path is that somebody took for a repository or a model."""

from itertools import count
from pathlib import Path

import pytest

from atoll.models import location
from atoll.models.location import Location, location_of, repositories_below


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("all", Location.ABOVE),
        ("all/models", Location.REPOSITORY),
        ("all/models/m", Location.MODEL),
        ("all/models/m/1", Location.VERSION),
        ("all/models/m/1/model.onnx", Location.FILE),
        ("all/models/m/1/model.onnx/more", Location.NOTHING),
        ("all/models/half", Location.OPEN),
        ("kept/digits.savedmodel", Location.FILE),
        ("serving/digits/1", Location.VERSION),  # as TensorFlow Serving has them
        ("numbers", Location.REPOSITORY),
        ("numbers/3", Location.MODEL),
        ("all/circle", Location.NOTHING),
        ("empty", Location.OPEN),
        ("nothing", Location.NOTHING),
        ("x" * 5000, Location.OPEN),
        ("null\0", Location.NOTHING),
    ],
)
def test_kinds(tmp_path: Path, path: str, kind: Location) -> None:
    touch(tmp_path / "all/models/m/1/model.onnx")
    touch(tmp_path / "all/models/m/config.pbtxt")
    touch(tmp_path / "all/models/half/config.pbtxt")
    touch(tmp_path / "numbers/3/1/model.plan")  # a model may be called 3
    touch(tmp_path / "kept/digits.savedmodel/saved_model.pb")
    touch(tmp_path / "serving/digits/1/saved_model.pb")
    touch(tmp_path / "all/notes.txt")
    (tmp_path / "all/circle").symlink_to(tmp_path / "all/circle")
    (tmp_path / "empty").mkdir()
    assert location_of(tmp_path / path) is kind


def test_repositories_are_named_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        touch(tmp_path / name / "m/1/model.onnx")
    touch(tmp_path / "c/m/weights.bin")
    assert repositories_below(tmp_path) == [tmp_path / "a", tmp_path / "b"]


def test_a_huge_folder_is_not_looked_at_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        (tmp_path / f"f{number}" / "g").mkdir(parents=True)
    monkeypatch.setattr(location, "MAX_LOOKED_AT", 50)
    looked = count()
    scandir = location.os.scandir

    def counted(path: Path) -> object:
        next(looked)
        return scandir(path)

    monkeypatch.setattr(location.os, "scandir", counted)
    assert location_of(tmp_path) is Location.OPEN
    assert next(looked) <= 110
