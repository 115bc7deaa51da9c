"""System shared memory regions, mapped and by system calls: the same answers."""

import gc
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.frontends.shared_memory.objects import shared_object

from atoll.errors import InternalError, InvalidArgumentError, UnavailableError
from atoll.frontends.shared_memory import system
from atoll.frontends.shared_memory.system import open_region
from atoll.protocol.region_requests import SystemRegion
from atoll.tensor import DataType, Tensor

WAYS = [
    pytest.param(True, id="mapped", marks=pytest.mark.skipif(not system.MAPPED, reason="the guard is not built")),
    pytest.param(False, id="copied"),
]
both_ways = pytest.mark.parametrize("mapped", WAYS)
GONE = "its owner has made it shorter"


@both_ways
@given(start=st.integers(0, 6000), offset=st.integers(0, 900), data=st.binary(max_size=100))
def test_bytes_are_where_the_client_put_them(mapped, start, offset, data):
    with shared_object() as one:
        region = open_region(one.region(offset=start, byte_size=1000), mapped=mapped)
        one.fill(data, start + offset)
        assert bytes(region.read(offset, len(data))) == data
        assert region.byte_size == 1000


@both_ways
def test_what_is_read_cannot_be_written_to(mapped):
    with shared_object() as one:
        view = memoryview(open_region(one.region(), mapped=mapped).read(0, 8))
        assert view.readonly
        assert not np.frombuffer(view, np.int64).flags.writeable


@pytest.mark.skipif(not system.MAPPED, reason="the guard is not built")
def test_a_mapped_region_is_not_copied():
    with shared_object() as one:
        region = open_region(one.region(offset=16), mapped=True)
        array = np.frombuffer(region.read(16, 8), np.int64)
        one.fill(b"\1", 32)
        assert array[0] == 1


@both_ways
@pytest.mark.parametrize("datatype", [one for one in DataType if one not in (DataType.INVALID, DataType.BYTES)])
def test_every_data_type_is_written_as_it_travels(mapped, datatype):
    array = (np.arange(24) % 2).astype(datatype.dtype).reshape(2, 3, 4)
    forms = (array, array.transpose(2, 0, 1), array[:, ::2], array[:0], np.array(array[0, 0, 1]))
    with shared_object() as one:
        region = open_region(one.region(offset=3), mapped=mapped)  # no alignment is promised
        for form in forms:
            tensor = Tensor("T", datatype, form.shape, array=form)
            one.fill(bytes(500))
            assert region.write(5, tensor, 400) == form.nbytes
            assert one.bytes()[8 : 8 + form.nbytes] == form.tobytes()
            assert not any(one.bytes()[8 + form.nbytes : 500])


@both_ways
def test_texts_and_packed_tensors_are_written_as_they_travel(mapped):
    texts = Tensor("T", DataType.BYTES, (2,), array=np.array([b"ab", b""], object))
    packed = Tensor("T", DataType.INT32, (2,), buffer=memoryview(b"12345678"))
    with shared_object() as one:
        region = open_region(one.region(), mapped=mapped)
        assert region.write(0, texts, 10) == 10
        assert region.write(10, packed, 8) == 8
        assert one.bytes()[:18] == b"\2\0\0\0ab\0\0\0\0" + b"12345678"


@both_ways
def test_nothing_is_written_where_there_is_too_little_room(mapped):
    tensor = Tensor("T", DataType.INT32, (4,), array=np.full(4, 7, np.int32))
    with shared_object() as one:
        region = open_region(one.region(), mapped=mapped)
        assert region.write(0, tensor, 15) == 16
        assert not any(one.bytes())


@both_ways
@pytest.mark.parametrize("left", [0, 100, 4096])
def test_a_region_that_was_cut_short_is_refused_from_then_on(mapped, left):
    tensor = Tensor("T", DataType.UINT8, (8192,), array=np.ones(8192, np.uint8))
    with shared_object() as one:
        region = open_region(one.region(), mapped=mapped)
        one.truncate(left)
        with pytest.raises(InvalidArgumentError, match=GONE):
            np.frombuffer(region.read(0, 8192), np.uint8).sum()
            region.check()
        one.truncate(8192)
        with pytest.raises(InvalidArgumentError, match=GONE):
            region.read(0, 1)
        with pytest.raises(InvalidArgumentError, match=GONE):
            region.write(0, tensor, 8192)


@both_ways
def test_writing_does_not_make_it_longer_again(mapped):
    tensor = Tensor("T", DataType.UINT8, (8192,), array=np.ones(8192, np.uint8))
    with shared_object() as one:
        region = open_region(one.region(), mapped=mapped)
        one.truncate(0)
        with pytest.raises(InvalidArgumentError, match=GONE):
            region.write(0, tensor, 8192)
            region.check()
        assert one.path.stat().st_size == 0


@both_ways
def test_a_region_whose_name_is_gone_is_used_on(mapped):
    with shared_object() as one:
        region = open_region(one.region(), mapped=mapped)
        one.fill(b"kept")
        one.path.unlink()
        assert bytes(region.read(0, 4)) == b"kept"


@both_ways
def test_nothing_stays_open(mapped):
    with shared_object() as one:
        region = open_region(one.region(), mapped=mapped)
        with pytest.raises(InvalidArgumentError):
            open_region(one.region(byte_size=9000), mapped=mapped)
        del region
        gc.collect()
        assert _open_links() == 0


def _open_links() -> int:
    count = Path("/proc/self/maps").read_text().count("atoll_test_")
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += "atoll_test_" in os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the listing's own
            continue
    return count


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "//", ".", "..", "/..", "/../etc/passwd", "/a/b", "a/../b", "/./x", "x/", "/" + "n" * 256),
        *("/no_such_object_of_atoll", "/nul\0byte", "/\udcff\ud800"),
    ],
)
def test_keys_that_lead_nowhere(key):
    with pytest.raises(InternalError, match="Unable to open shared memory region: '"):
        open_region(SystemRegion("r", key, 0, 8))


def test_only_objects_of_the_folder_are_opened(tmp_path):
    (tmp_path / "secret").write_bytes(b"x" * 100)
    folder = tmp_path / "shm"
    (folder / "directory").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inside").symlink_to("object")
    (folder / "object").write_bytes(b"y" * 100)
    os.mkfifo(folder / "fifo")
    for name in ("directory", "link", "inside", "fifo"):
        with pytest.raises(InternalError, match=f"Unable to open shared memory region: '/{name}'"):
            open_region(SystemRegion("r", f"/{name}", 0, 8), directory=str(folder))
    assert bytes(open_region(SystemRegion("r", "///object", 99, 1), directory=str(folder)).read(0, 1)) == b"y"


def test_what_a_server_shares_with_its_processes_is_no_clients(tmp_path):
    """That of a Triton beside this server stays where it is as long as that one runs, with pointers in it."""
    (tmp_path / "triton_python_backend_shm_region_1").write_bytes(bytes(100))
    for key in ("/triton_python_backend_shm_region_1", "//triton_python_backend_shm_region_1"):
        with pytest.raises(InternalError, match="no client's"):
            open_region(SystemRegion("r", key, 0, 8), directory=str(tmp_path))


@both_ways
@pytest.mark.parametrize(
    ("offset", "byte_size"), [(0, 8193), (8192, 1), (8191, 2), (2**63, 2**63), (2**64 - 1, 2**64 - 1), (0, 2**64 - 1)]
)
def test_sizes_that_lie(mapped, offset, byte_size):
    with shared_object() as one, pytest.raises(InvalidArgumentError, match=r"failed to register .* 'r': invalid args"):
        open_region(one.region(offset=offset, byte_size=byte_size), mapped=mapped)


@pytest.fixture
def small_folder(tmp_path):
    """A file system in memory that holds 16 pages."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


@both_ways
def test_a_full_file_system_is_the_requests_trouble(mapped, small_folder):
    (small_folder / "object").write_bytes(b"")
    os.truncate(small_folder / "object", 1 << 20)  # a hole that the file system cannot fill
    tensor = Tensor("T", DataType.UINT8, (1 << 20,), array=np.ones(1 << 20, np.uint8))
    region = open_region(SystemRegion("r", "/object", 0, 1 << 20), mapped=mapped, directory=str(small_folder))
    with pytest.raises(InvalidArgumentError, match="/dev/shm is full"):
        region.write(0, tensor, 1 << 20)
        region.check()


def test_a_tensor_for_which_there_is_no_memory(monkeypatch):
    with shared_object() as one:
        region = open_region(one.region(), mapped=False)

        def refuse(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(system.np, "empty", refuse)
        with pytest.raises(UnavailableError, match="no memory for a tensor of 8 bytes"):
            region.read(0, 8)
