"""Lines are written by a thread: nobody waits for the output, and what is lost is said."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from atoll.observability.logging.line_writer import LineWriter


class Slow:
    """An output that can be held up, and can fail."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Event()
        self.broken = False
        self.text = ""
        self.reopened = self.closed = 0

    def write(self, data: bytes) -> None:
        self.asked.set()
        self.free.wait(30)
        if self.broken:
            raise OSError("no space")
        self.text += data.decode()

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        self.closed += 1


def render(lines: Sequence[str], lost: int) -> bytes:
    if "cannot" in lines:
        raise ValueError("this line cannot be rendered")
    return "".join([f"({lost} lost)\n"] * bool(lost) + [f"{line}\n" for line in lines]).encode()


@contextmanager
def writing(output: Slow, **options: Any) -> Iterator[LineWriter[str]]:
    writer: LineWriter[str] = LineWriter("test", output, render, **{"capacity": 1000, **options})
    try:
        yield writer
    finally:
        output.free.set()
        writer.close()


@pytest.mark.parametrize("pause_s", [0.0, 60.0])
def test_all_lines_are_written_in_their_order(pause_s: float) -> None:
    output = Slow()
    with writing(output, pause_s=pause_s, together=7) as writer:
        for number in range(100):
            writer.put(str(number))
        assert writer.flush(30)
        assert output.text.split() == [str(number) for number in range(100)]
        writer.put("last")
    assert output.text.endswith("last\n")
    assert output.closed == 1


def test_no_line_of_any_thread_is_lost_or_written_twice() -> None:
    output = Slow()
    with writing(output, capacity=100_000) as writer:

        def say(name: str) -> None:
            for number in range(500):
                writer.put(f"{name}{number}")

        threads = [threading.Thread(target=say, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = output.text.split()
    assert len(lines) == len(set(lines)) == 2000
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name}{number}" for number in range(500)]


def test_what_does_not_fit_is_dropped_counted_and_said() -> None:
    output = Slow()
    output.free.clear()
    with writing(output, capacity=10) as writer:
        writer.put("first")
        assert output.asked.wait(30)
        for number in range(25):
            writer.put(str(number))
        assert writer.lost == 16  # one is being written
        output.free.set()
        assert writer.flush(30)
        assert writer.lost == 0
    assert output.text.split("\n")[:3] == ["first", "(16 lost)", "0"]
    assert output.text.split("\n")[-2] == "8"


def test_weights_count() -> None:
    output = Slow()
    output.free.clear()
    with writing(output, capacity=10) as writer:
        writer.put("first", 4)
        assert output.asked.wait(30)
        writer.put("fits", 6)
        writer.put("does not", 1)
        assert writer.lost == 1


def test_what_cannot_be_written_is_told_of_with_the_next_line() -> None:
    output = Slow()
    output.broken = True
    with writing(output) as writer:
        writer.put("a")
        writer.put("b")
        assert writer.flush(30)
        assert (writer.lost, output.text) == (2, "")
        output.broken = False
        writer.put("c")
        assert writer.flush(30)
    assert output.text == "(2 lost)\nc\n"


def test_a_line_that_cannot_be_rendered_takes_no_other_with_it() -> None:
    output = Slow()
    output.free.clear()
    with writing(output) as writer:
        for line in ("a", "b", "cannot", "c"):
            writer.put(line)
        output.free.set()
        assert writer.flush(30)
    assert [line for line in output.text.split("\n") if len(line) == 1] == ["a", "b", "c"]


def test_a_stuck_output_does_not_hold_up_the_end() -> None:
    output = Slow()
    output.free.clear()
    writer: LineWriter[str] = LineWriter("test", output, render, capacity=1000)
    writer.put("a")
    assert output.asked.wait(30)
    assert not writer.close(0.05)
    assert output.closed == 0
    output.free.set()


def test_reopening_is_handed_on() -> None:
    output = Slow()
    with writing(output) as writer:
        writer.reopen()
    assert output.reopened == 1


def in_child(work: Callable[[], None]) -> None:
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_writes_itself() -> None:
    readable, writable = os.pipe()

    class Pipe(Slow):
        def write(self, data: bytes) -> None:
            os.write(writable, data)

    with writing(Pipe()) as writer:
        writer.put("parent")
        assert writer.flush(30)

        def work() -> None:
            writer.put("child")
            writer.flush()

        in_child(work)
        assert os.read(readable, 100) == b"parent\nchild\n"
    os.close(readable)
    os.close(writable)
