"""From listings to files: what is arranged always lies inside the model's folder, and nothing else passes."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import ConfigError
from atoll.repositories.object_names import Arrangement, StoredObject, arrange, check_segment


def stored(path: str, size: int = 1, token: str = "t") -> StoredObject:
    return StoredObject(f"r/m/{path}", path, size, token)


segments = st.one_of(
    st.sampled_from(["", ".", "..", "1", "a", "\\", "a\\b", "\0", "\n", "x" * 256, "\ud800"]), st.text(max_size=5)
)
paths = st.lists(segments, min_size=1, max_size=4).map("/".join)


@given(st.lists(st.tuples(paths, st.integers(0, 3)), max_size=6))
def test_files_lie_inside_the_models_folder(listed: list[tuple[str, int]]) -> None:
    try:
        found = arrange([stored(path, size) for path, size in listed], "s3://b/r/m")
    except ConfigError as error:
        str(error).encode()  # can be logged and sent
        return
    names = [one.path for one in found.files] + list(found.folders)
    assert len(names) == len(set(names))
    assert set(names) <= {path for path, _ in listed}
    root = PurePosixPath("/cache/m")
    for name in names:
        joined = root / name
        assert joined.is_relative_to(root)
        assert ".." not in joined.parts
        assert str(joined) == f"{root}/{name}"  # no part was lost or joined
    files = {one.path for one in found.files}
    for name in names:
        assert not files & {str(parent) for parent in PurePosixPath(name).parents}, "a file is a folder too"


@given(st.permutations([stored("a"), stored("1/b"), stored("c", 0)]))
def test_the_order_of_a_listing_does_not_matter(listed: list[StoredObject]) -> None:
    expected = arrange([stored("a"), stored("1/b"), stored("c", 0)], "w")
    assert arrange(listed, "w") == expected
    assert arrange(listed, "w").state == expected.state


def test_markers_of_folders() -> None:
    found = arrange(
        [stored("", 0), stored("1", 0), stored("2", 0), stored("2/x"), stored("01", 0), stored("a/3", 0)], "w"
    )
    assert found.folders == ("1",)
    assert [one.path for one in found.files] == ["01", "2/x", "a/3"]


def test_a_state_is_its_files_and_their_content() -> None:
    base = arrange([stored("a"), stored("1/b")], "w")
    others = [
        arrange([stored("a"), stored("1/b", token="u")], "w"),
        arrange([stored("a"), stored("1/b", size=2)], "w"),
        arrange([stored("a"), stored("1/c")], "w"),
        arrange([stored("a")], "w"),
        arrange([stored("a"), stored("1/b"), stored("2", 0)], "w"),
        Arrangement((), ()),
    ]
    assert len({one.state for one in [base, *others]}) == 7


def test_equal_etags_of_different_objects_are_different_content() -> None:
    assert stored("a").blob != stored("b").blob


@pytest.mark.parametrize("name", ["a", "1", "..a", "a..", "...", "a b", "%2e%2e", "\u00fc", "-", "~", "x" * 255])
def test_names_that_files_may_have(name: str, tmp_path: Path) -> None:
    check_segment(name, "w")
    (tmp_path / name).touch()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "\x1b[2J", "\x7f", "\u00fc" * 128, "\udc80"])
def test_names_that_no_file_may_have(name: str) -> None:
    with pytest.raises(ConfigError, match="no file can have such a name") as caught:
        check_segment(name, f"s3://b/m/{name}")
    assert str(caught.value).isprintable()
