"""What children print: in the log, in order, and bounded."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.isolation.children import Nursery, eventually

from atoll.isolation import output
from atoll.isolation.output import OutputLines

pytestmark = pytest.mark.slow  # it waits for what comes at a bounded rate


def test_both_streams_reach_the_log_in_order_with_the_instances_name(nursery: Nursery) -> None:
    code = "for i in range(100):\n    print('out', i)\n    sys.stderr.write(f'err {i}\\n')\nos._exit(0)"
    nursery.start(code).reason()
    assert nursery.lines == [f"[echo_0_0] {stream} {i}" for i in range(100) for stream in ("out", "err")]


def test_a_line_knows_its_model_and_version_too(nursery: Nursery, caplog: pytest.LogCaptureFixture) -> None:
    nursery.start("print('hello'); os._exit(0)", name="first", version="2").reason()
    assert nursery.lines == ["[first] hello"]
    found = [vars(one) for one in caplog.records if one.getMessage() == "[first] hello"]
    assert [(one["model"], one["version"], one["instance"]) for one in found] == [("echo", "2", "first")]


def test_a_last_line_without_an_end_is_shown(nursery: Nursery) -> None:
    nursery.start("print('whole'); sys.stdout.write('half a li'); sys.stdout.flush(); os._exit(0)").reason()
    assert nursery.printed() == ["whole", "half a li"]


def test_a_hundred_megabytes_block_nobody_and_are_counted(nursery: Nursery) -> None:
    total = 1 << 20
    code = (
        f"for start in range(0, {total}, 1 << 10):\n"
        "    sys.stdout.write(''.join(f'{i:099d}\\n' for i in range(start, start + (1 << 10))))\n"
        "data.sendall(b'printed'); os._exit(0)"
    )
    started = nursery.start(code)
    assert started.said() == "printed"
    started.reason()
    printed = nursery.printed()
    numbers = [int(line) for line in printed if line.isdigit()]
    notes = [int(line[1:].split()[0]) for line in printed if not line.isdigit()]
    assert numbers[0] == 0
    assert numbers[-1] == total - 1  # the last lines are where a traceback would be
    assert numbers == sorted(set(numbers))
    assert len(numbers) + sum(notes) == total
    assert sum(map(len, printed)) < 20 << 20


def test_a_hundred_megabytes_without_a_line_end(nursery: Nursery) -> None:
    code = "for _ in range(100):\n    os.write(1, b'x' * (1 << 20))\nos.write(1, b'\\nnext\\n'); os._exit(0)"
    nursery.start(code).reason()
    assert nursery.printed() == [
        "x" * output.MAX_LINE_BYTES + f" (line cut after {output.MAX_LINE_BYTES} bytes)",
        "next",
    ]


def test_what_was_left_out_is_told_of_while_the_model_is_quiet(nursery: Nursery) -> None:
    started = nursery.start("print('\\n'.join(map(str, range(20000))), flush=True)")
    eventually(lambda: any("were left out here" in line for line in nursery.lines), "a note")
    eventually(lambda: nursery.printed()[-1] == "19999", "the last line")
    assert started.child.alive


def test_bytes_that_are_no_text_are_shown_as_such(nursery: Nursery) -> None:
    nursery.start("os.write(1, b'caf\\xc3\\xa9 \\xff\\xfe\\r\\n'); os._exit(0)").reason()
    assert nursery.printed() == ["caf\u00e9 \\xff\\xfe"]


# ---- the rule


def cut_into(data: bytes, sizes: list[int]) -> list[bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return [*parts, data[start:]]


@given(
    lines=st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n\r"), max_size=30), max_size=60),
    last=st.text(st.characters(codec="ascii", exclude_characters="\n\r"), max_size=10),
    sizes=st.lists(st.integers(1, 40), max_size=60),
)
def test_lines_do_not_depend_on_how_they_were_read(lines: list[str], last: str, sizes: list[int]) -> None:
    data = "".join(line + "\n" for line in lines).encode() + last.encode()
    rule = OutputLines(0.0)
    found = [line for part in cut_into(data, sizes) for line in rule.feed(part, 0.0)] + rule.end()
    assert found == lines + ([last] if last else [])


@given(
    st.lists(
        st.tuples(st.integers(1, 3000), st.integers(0, 200), st.floats(0, 5), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_no_line_is_lost_uncounted_or_out_of_order_and_the_rate_holds(
    steps: list[tuple[int, int, float, bool]],
) -> None:
    rule = OutputLines(0.0)
    now, number, found = 0.0, 0, []
    for count, width, pause, asked in steps:
        data = "".join(f"{i:0{width}d}\n" for i in range(number, number + count)).encode()
        number += count
        found += rule.feed(data, now)
        now += pause
        if asked:
            found += rule.idle(now)
    within = len(found)
    found += rule.end()
    shown = [int(line) for line in found if line.isdigit()]
    left_out = sum(int(match[1]) for line in found if (match := re.match(r"\((\d+) lines, of", line)))
    assert shown == sorted(set(shown))
    assert len(shown) + left_out == number
    assert shown[-1] == number - 1
    assert within <= output.BURST_LINES + output.LINES_PER_SECOND * now + 41 * (1 + now)
    assert list(rule.last)[-1] == found[-1]


@given(st.lists(st.binary(max_size=5000), max_size=40))
def test_any_bytes_give_bounded_lines(parts: list[bytes]) -> None:
    rule = OutputLines(0.0)
    found = [line for part in parts for line in rule.feed(part, 0.0)] + rule.end()
    assert all("\n" not in line and len(line) <= 4 * output.MAX_LINE_BYTES + 100 for line in found)
    assert len(rule.last) <= 40


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_progress_bar_is_shown_as_it_ends(size: int) -> None:
    data = b"".join(b"\r%3d%%|%s" % (i, b"#" * i) for i in range(101)) + b"\ndone\n"
    rule = OutputLines(0.0)
    found = [line for i in range(0, len(data), size) for line in rule.feed(data[i : i + size], 0.0)]
    assert found == ["100%|" + "#" * 100, "done"]


def test_the_end_of_a_long_line_is_not_taken_for_a_line() -> None:
    rule = OutputLines(0.0)
    assert rule.feed(b"a" * 9000, 0.0) == ["a" * 8192 + " (line cut after 8192 bytes)"]
    assert rule.feed(b"a" * 9000, 0.0) == []
    assert rule.feed(b"aaa\nb\n", 0.0) == ["b"]
    assert rule.feed(b"c" * 9000 + b"\nd", 0.0) == ["c" * 8192 + " (line cut after 8192 bytes)"]
    assert rule.end() == ["d"]
