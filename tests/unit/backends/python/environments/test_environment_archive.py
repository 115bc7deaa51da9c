"""Archives of environments: what is unpacked as it was, and what is refused."""

import gzip
import io
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.backends.python.environments import archive as archives
from atoll.backends.python.environments.archive import ArchiveError, extract

Fill = Callable[[tarfile.TarFile], None]


def unpack(archive: Path, largest_bytes: int = 1 << 30) -> Path:
    target = archive.parent / "unpacked"
    target.mkdir()
    extract(archive, target, largest_bytes=largest_bytes, on_progress=lambda done: None)
    return target


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def tar(path: Path, *members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for one in members:
            info, data = one if isinstance(one, tuple) else (one, b"")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A folder such as archives are made of."""
    folder = tmp_path / "environment"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib" / "python3.11" / "empty").mkdir(parents=True)
    (folder / "bin" / "python3.11").write_bytes(b"\x7fELF" + bytes(3000))
    (folder / "bin" / "python3.11").chmod(0o755)
    (folder / "bin" / "python").symlink_to("python3.11")
    (folder / "lib64").symlink_to("lib")
    (folder / "bin" / "system").symlink_to("/usr/bin/env")
    (folder / "lib" / "same.py").write_text("X = 1\n")
    os.link(folder / "lib" / "same.py", folder / "lib" / "twin.py")
    return folder


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_comes_out_as_it_went_in(tmp_path: Path, environment: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "packed", mode) as archive:  # type: ignore[call-overload]
        archive.add(environment, ".")
    found = unpack(tmp_path / "packed")
    assert os.readlink(found / "bin" / "python") == "python3.11"
    assert os.readlink(found / "lib64") == "lib"
    assert os.readlink(found / "bin" / "system") == "/usr/bin/env"
    assert stat.S_IMODE((found / "bin" / "python3.11").stat().st_mode) == 0o755
    assert (found / "bin" / "python").read_bytes() == (environment / "bin" / "python3.11").read_bytes()
    assert (found / "lib" / "twin.py").samefile(found / "lib" / "same.py")
    assert (found / "lib" / "python3.11" / "empty").is_dir()


def test_a_zip_comes_out_as_it_went_in(tmp_path: Path, environment: Path) -> None:
    with zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(environment.rglob("*")):
            if path.is_symlink():
                link = zipfile.ZipInfo(str(path.relative_to(environment)))
                link.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(link, os.readlink(path))
            else:
                archive.write(path, path.relative_to(environment))
    found = unpack(tmp_path / "packed.zip")
    assert os.readlink(found / "bin" / "python") == "python3.11"
    assert stat.S_IMODE((found / "bin" / "python3.11").stat().st_mode) == 0o755
    assert (found / "lib" / "twin.py").read_text() == "X = 1\n"
    assert (found / "lib" / "python3.11" / "empty").is_dir()


NAMES = st.lists(st.text("abc.", min_size=1, max_size=3).filter(lambda one: one.strip(".")), min_size=1, max_size=3)
TREES = st.dictionaries(NAMES.map("/".join), st.binary(max_size=64), max_size=8)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(TREES)
def test_any_tree_of_files_comes_out_or_is_refused(tree: dict[str, bytes]) -> None:
    clash = any(one.startswith(f"{other}/") for one in tree for other in tree)
    with tempfile.TemporaryDirectory() as folder:
        packed = tar(Path(folder) / "packed", *((member(name), data) for name, data in tree.items()))
        try:
            found = unpack(packed)
        except (ArchiveError, OSError):
            assert clash
            return
        there = {str(path.relative_to(found)): path.read_bytes() for path in found.rglob("*") if path.is_file()}
        assert there == tree


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([member("../evil")], "its member '../evil' would lie outside"),
        ([member("a/../../evil")], "would lie outside"),
        ([member("/etc/evil")], "its member '/etc/evil' would lie outside"),
        ([member("up", tarfile.SYMTYPE, "../../etc")], "is a link out of the environment: ../../etc"),
        ([member("a/up", tarfile.SYMTYPE, "../..")], "is a link out of the environment"),
        ([member("none", tarfile.SYMTYPE, "")], "is a link to nothing"),
        ([member("hard", tarfile.LNKTYPE, "/etc/passwd")], "would lie outside"),
        ([member("hard", tarfile.LNKTYPE, "later"), member("later")], "is a hard link to nothing before it"),
        ([member("pipe", tarfile.FIFOTYPE)], "its member 'pipe' is a device or a pipe"),
        ([member("null", tarfile.CHRTYPE)], "is a device or a pipe"),
        ([member("d", tarfile.SYMTYPE, "/tmp"), member("d/x")], "its member 'd' is both a folder and a link"),
        ([member("d", tarfile.SYMTYPE, "/tmp"), member("d/l", tarfile.SYMTYPE, "x")], "'d/l' lies behind a link"),
        ([member(".")], "has no name"),
    ],
)
def test_members_that_do_not_stay_where_they_are_put(
    tmp_path: Path, members: list[tarfile.TarInfo], expected: str
) -> None:
    with pytest.raises(ArchiveError) as caught:
        unpack(tar(tmp_path / "packed", *members))
    assert expected in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "unpacked"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    first = member("lib", tarfile.SYMTYPE, str(outside))
    with pytest.raises(ArchiveError):
        unpack(tar(tmp_path / "packed", first, (member("lib/evil"), b"x")))
    assert list(outside.iterdir()) == []


def test_rights_that_nobody_should_have_are_dropped(tmp_path: Path) -> None:
    found = unpack(tar(tmp_path / "packed", (member("a", mode=0o6777), b""), (member("b", mode=0), b"")))
    assert stat.S_IMODE((found / "a").stat().st_mode) == 0o755
    assert stat.S_IMODE((found / "b").stat().st_mode) == 0o600


def test_a_later_member_of_the_same_name_wins(tmp_path: Path) -> None:
    found = unpack(tar(tmp_path / "packed", (member("a"), b"1"), (member("a"), b"2")))
    assert (found / "a").read_bytes() == b"2"


def test_a_bomb_is_stopped_at_the_bound(tmp_path: Path) -> None:
    large = (member("zeros"), bytes(3_000_000))
    with pytest.raises(ArchiveError, match=r"more than 2000000 bytes; raise --backend-config=python,environment-byte-"):
        unpack(tar(tmp_path / "packed", large, mode="w:gz"), largest_bytes=2_000_000)
    assert (tmp_path / "packed").stat().st_size < 10_000
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(3_000_000))
    data = packed.read_bytes().replace((3_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    packed.write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(packed)


def test_more_members_than_any_environment_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(ArchiveError, match="more than 3 members"):
        unpack(tar(tmp_path / "packed", *(member(f"a{number}") for number in range(4))))


def test_a_header_that_announces_gigabytes_is_refused(tmp_path: Path) -> None:
    info = member("x", tarfile.XHDTYPE)
    info.size = 1 << 32
    (tmp_path / "packed").write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096)))
    with pytest.raises(ArchiveError, match="a header of 4294967296 bytes"):
        unpack(tmp_path / "packed")


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"]
)
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "packed").write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(tmp_path / "packed")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_cut_short_is_damaged(tmp_path: Path, mode: str) -> None:
    whole = tar(tmp_path / "whole", (member("a"), os.urandom(50_000)), mode=mode).read_bytes()
    (tmp_path / "packed").write_bytes(whole[:30_000])
    with pytest.raises(ArchiveError, match=r"damaged|too early"):
        unpack(tmp_path / "packed")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 2047), st.integers(0, 255)), max_size=30), st.booleans())
def test_a_garbled_archive_never_leaves_its_folder(changes: list[tuple[int, int]], as_zip: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "packed"
        if as_zip:
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("d/a", b"x" * 200)
                archive.writestr("b", b"y" * 200)
        else:
            tar(packed, member("d", tarfile.DIRTYPE), (member("d/a"), b"x"), member("l", tarfile.SYMTYPE, "d"))
        data = bytearray(packed.read_bytes()[:2048])
        for place, value in changes:
            data[place % len(data)] = value
        packed.write_bytes(data)
        with suppress(ArchiveError, OSError):
            unpack(packed, largest_bytes=1 << 20)
        assert sorted(os.listdir(folder)) == ["packed", "unpacked"]
