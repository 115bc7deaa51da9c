"""The line that a terminal shows while models are loaded: what is in it, and that the log above it stays readable."""

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from tests.unit.models.tiny import write_model

from atoll.observability import progress
from atoll.observability.progress import LoadDisplay

TIMEOUT_S = 60


class Terminal(io.StringIO):
    """What a terminal shows: lines, of which the last one can be written over. Knows what the display uses, no more."""

    def lines(self) -> list[str]:
        found = [""]
        column = 0
        for piece in re.findall(r"\r|\n|\x1b\[K|[^\r\n\x1b]+|\x1b", self.getvalue()):
            if piece == "\r":
                column = 0
            elif piece == "\n":
                found.append("")
                column = 0
            elif piece == "\x1b[K":
                found[-1] = found[-1][:column]
            else:
                assert piece != "\x1b", "an escape sequence that nobody meant"
                found[-1] = found[-1][:column] + piece + found[-1][column + len(piece) :]
                column += len(piece)
        return found

    @property
    def line(self) -> str:
        return self.lines()[-1]


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds: one entry, which a test changes."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def display(terminal: Terminal, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> LoadDisplay:
    monkeypatch.setenv("COLUMNS", "200")
    return LoadDisplay(terminal)


def test_it_counts_and_names(display: LoadDisplay, terminal: Terminal, clock: list[float]) -> None:
    display.begin("a", 3)
    assert terminal.line == "Loading models: 0 of 3; now a"
    clock[0] += 1
    display.begin("b", 3)
    assert terminal.line == "Loading models: 0 of 3; now a, b"
    clock[0] += 1
    display.end("a", failed=False)
    assert terminal.line == "Loading models: 1 of 3; now b"
    clock[0] += 1
    display.end("b", failed=True)
    assert terminal.line == "Loading models: 2 of 3, 1 failed"
    display.close()
    assert terminal.lines() == [""]


def test_it_is_not_drawn_more_often_than_can_be_read(
    display: LoadDisplay, terminal: Terminal, clock: list[float]
) -> None:
    display.begin("a", 500)
    written = len(terminal.getvalue())
    for number in range(400):
        display.begin(str(number), 500)
        display.end(str(number), failed=False)
    assert len(terminal.getvalue()) == written
    clock[0] += 1
    display.end("a", failed=False)
    assert terminal.line == "Loading models: 401 of 500"


def test_the_last_one_is_always_seen(display: LoadDisplay, terminal: Terminal) -> None:
    display.begin("a", 1)
    display.end("a", failed=False)
    assert terminal.line == "Loading models: 1 of 1"


def test_downloads(display: LoadDisplay, terminal: Terminal, clock: list[float]) -> None:
    display.begin("a", 1)
    clock[0] += 1
    display.download("a", 10 << 20, 40 << 20)
    assert terminal.line == "Loading models: 0 of 1; now a 10/40 MiB"
    clock[0] += 1
    display.download("a", 40 << 20, 40 << 20)
    assert terminal.line == "Loading models: 0 of 1; now a"
    clock[0] += 1
    display.download("of nobody", 1, 2)
    display.end("a", failed=False)
    assert "of nobody" not in terminal.line


def test_a_second_round_is_counted_anew(display: LoadDisplay, terminal: Terminal, clock: list[float]) -> None:
    for name in ("a", "b"):
        display.begin(name, 2)
        display.end(name, failed=True)
    clock[0] += 1
    display.begin("c", 1)
    assert terminal.line == "Loading models: 0 of 1; now c"


def test_the_log_goes_above_it(display: LoadDisplay, terminal: Terminal, clock: list[float]) -> None:
    display.write("before\n")
    display.begin("a", 2)
    display.write("first\n")
    display.write("two\nlines\n")
    assert terminal.lines() == ["before", "first", "two", "lines", "Loading models: 0 of 2; now a"]
    clock[0] += 1
    display.end("a", failed=False)
    display.close()
    display.write("after\n")
    assert terminal.lines() == ["before", "first", "two", "lines", "after", ""]


def test_it_never_takes_more_than_a_line(
    display: LoadDisplay, terminal: Terminal, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for number in range(30):
        clock[0] += 1
        display.begin(f"model-with-a-name-{number}", 30)
        assert len(terminal.line) <= 39
    assert terminal.line.endswith("...")
    for columns in ("1", "2", "3", "4"):
        monkeypatch.setenv("COLUMNS", columns)
        clock[0] += 1
        display.begin("x", 30)


def test_names_cannot_move_the_cursor(display: LoadDisplay, terminal: Terminal) -> None:
    display.begin("a\x1b[2Jb\nc\rd", 1)
    assert terminal.lines() == ["Loading models: 0 of 1; now a\\x1b[2Jb\\nc\\rd"]


def test_many_threads(display: LoadDisplay, terminal: Terminal, clock: list[float]) -> None:
    def load(number: int) -> None:
        for part in range(25):
            clock[0] += 1
            name = f"{number}-{part}"
            display.begin(name, 100)
            display.write(f"log {name}\n")
            display.end(name, failed=False)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    display.close()
    lines = terminal.lines()
    assert sorted(lines[:-1]) == sorted(f"log {number}-{part}" for number in range(4) for part in range(25))
    assert lines[-1] == ""


def _serve(repository: Path) -> list[str]:
    ports = ["--http-port=0", "--grpc-port=0", "--metrics-port=0"]
    return [sys.executable, "-m", "atoll", "serve", str(repository), "--http-address=127.0.0.1", *ports]


@pytest.mark.slow
def test_a_server_on_a_terminal(tmp_path: Path) -> None:
    for number in range(8):
        write_model(tmp_path, f"m{number}", number)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(_serve(tmp_path), stdin=slave, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    killer = threading.Timer(TIMEOUT_S, process.kill)
    killer.start()
    shown = Terminal()
    stopping = False
    try:
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # as Linux ends a terminal whose other side is closed
                break
            if not data:
                break
            shown.write(data.decode())
            if "Started Metrics Service" in shown.getvalue() and not stopping:
                stopping = True
                process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0, shown.getvalue()
    finally:
        killer.cancel()
        process.kill()
        process.wait()
        os.close(master)
    assert "Loading models: 0 of 8; now m" in shown.getvalue()
    assert "Loading models: 8 of 8" in shown.getvalue()
    lines = shown.lines()
    assert not any("Loading models" in line for line in lines)  # in the end nothing of it is left
    for number in range(8):
        assert any(re.fullmatch(rf"I\d{{4}} .*successfully loaded 'm{number}' version 1 .*", line) for line in lines)


@pytest.mark.slow
def test_a_server_in_a_pipe_draws_nothing(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 1)
    process = subprocess.Popen(_serve(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    killer = threading.Timer(TIMEOUT_S, process.kill)
    killer.start()
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "Started Metrics Service" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    finally:
        killer.cancel()
        process.kill()
        process.wait()
        process.stderr.close()
    text = "".join(lines)
    assert "successfully loaded 'm'" in text
    assert "Loading models" not in text
    assert "\x1b" not in text
