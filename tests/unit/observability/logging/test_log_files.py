"""Log files are appended to, and follow their name when rotation moves them away."""

import io
import os
from pathlib import Path

import pytest

from atoll.observability.logging.files import LogFile, StandardStream, TextStream


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_was_there_stays(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    file = LogFile(str(path), clock)
    file.write(b"now\n")
    file.close()
    file.close()
    assert path.read_text() == "before\nnow\n"


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogFile(str(tmp_path / "nowhere" / "log"))
    with pytest.raises(IsADirectoryError):
        LogFile(str(tmp_path))


def test_a_renamed_file_is_left_at_the_next_look(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path), clock)
    file.write(b"1\n")
    path.rename(tmp_path / "log.1")
    file.write(b"2\n")
    clock.now += 2
    file.write(b"3\n")
    file.close()
    assert (tmp_path / "log.1").read_text() == "1\n2\n"
    assert path.read_text() == "3\n"


def test_reopen_does_not_wait_for_the_next_look(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path), clock)
    file.write(b"1\n")
    path.rename(tmp_path / "log.1")
    file.reopen()
    file.write(b"2\n")
    file.close()
    assert ((tmp_path / "log.1").read_text(), path.read_text()) == ("1\n", "2\n")


def test_a_truncated_file_goes_on_at_its_start(tmp_path: Path, clock: Clock) -> None:
    """As logrotate's copytruncate does it."""
    path = tmp_path / "log"
    file = LogFile(str(path), clock)
    file.write(b"1\n")
    os.truncate(path, 0)
    file.write(b"2\n")
    file.close()
    assert path.read_bytes() == b"2\n"


def test_where_the_name_cannot_be_opened_the_old_file_goes_on(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = LogFile(str(folder / "log"), clock)
    folder.rename(tmp_path / "moved")
    clock.now += 2
    file.write(b"1\n")
    folder.mkdir()
    clock.now += 2
    file.write(b"2\n")
    file.close()
    assert (tmp_path / "moved" / "log").read_text() == "1\n"
    assert (folder / "log").read_text() == "2\n"


def test_a_full_disk_is_an_error() -> None:
    file = LogFile("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        file.write(b"x")
    file.close()


def test_streams_stay_open() -> None:
    readable, writable = os.pipe()
    stream = StandardStream(writable)
    stream.write(b"line\n")
    stream.reopen()
    stream.close()
    os.close(writable)
    assert os.read(readable, 100) == b"line\n"
    os.close(readable)


def test_a_closed_stream_of_pythons_is_an_error_like_any_other() -> None:
    text = io.StringIO()
    stream = TextStream(text)
    stream.write("é\n".encode())
    assert text.getvalue() == "é\n"
    text.close()
    with pytest.raises(OSError, match="closed"):
        stream.write(b"x")
