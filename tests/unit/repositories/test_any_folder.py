"""Any tree of files and links: what the walk yields is a file inside the repository, or it says what is wrong."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError, ConfigError
from atoll.repositories.tree import Bounds, walk

NAMES = st.sampled_from(["1", "2", "a", ".h", "model.onnx"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS = st.sampled_from(
    (
        *("1", "2", "a", "..", "../..", "../../..", ".", "../a", "../1/a", "model.onnx", "absent", "../../outside"),
        *("../../outside/secret", "../../../outside", "../../other", "/etc/passwd"),
    )
)
TREES = st.lists(st.tuples(PATHS, st.none() | TARGETS), max_size=10)


def plant(model: Path, tree: list[tuple[str, str | None]]) -> None:
    """Files and, where there is a target, links, as far as they fit beside each other."""
    for path, target in tree:
        place = model / path
        parent = os.path.realpath(place.parent)
        if not parent.startswith(f"{model.parent}/") and parent != str(model.parent):
            continue  # a link planted before leads elsewhere: nothing is written there
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if target is None:
                place.touch()
            else:
                place.symlink_to(target)
        except OSError:
            continue


@pytest.mark.parametrize("external", [False, True])
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
@pytest.mark.slow
def test_nothing_outside_is_ever_yielded(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, external: bool, tree: list[tuple[str, str | None]]
) -> None:
    root = tmp_path / "repository"
    shutil.rmtree(root, ignore_errors=True)
    for folder in (root / "m", root / "other", tmp_path / "outside"):
        folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "outside" / "secret").touch()
    (root / "other" / "file").touch()
    plant(root / "m", tree)
    bounds = Bounds((str(root),), external_symlinks=external, max_entries=2000, max_depth=20)
    try:
        found = dict(walk(root / "m", bounds))
    except AtollError as error:
        assert any(target is not None for _, target in tree), f"without links nothing is wrong: {error}"
        if external:
            assert "outside of the repository" not in str(error)
        else:
            assert isinstance(error, ConfigError)
        return
    expected = set()
    for folder, _, files in os.walk(root / "m", followlinks=True):
        for file in files:
            relative = os.path.relpath(os.path.join(folder, file), root / "m")
            if "/." not in f"/{relative}":
                expected.add(relative)
            assert external or os.path.realpath(os.path.join(folder, file)).startswith(f"{root}/") or file[0] == "."
    assert found.keys() == expected
    for path, status in found.items():
        assert status.st_ino == os.stat(root / "m" / path).st_ino
