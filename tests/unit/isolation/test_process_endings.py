"""Why a process ended, in words."""

import pytest

from atoll.isolation.child_control import EXITS
from atoll.isolation.endings import reason
from atoll.isolation.limits import byte_count

CRASH = [
    "loading",
    "Fatal Python error: Segmentation fault",
    "",
    "Thread 0x00007f08034346c0 (most recent call first):",
    '  File "/srv/models/m/1/other.py", line 71 in work',
    "",
    "Current thread 0x00007f0804027b80 (most recent call first):",
    '  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at',
    '  File "/srv/models/m/1/model.py", line 12 in execute',
    '  File "/site/atoll/backends/python/runner.py", line 5 in run',
    "",
    "Extension modules: numpy (total: 1)",
]


@pytest.mark.parametrize(
    ("code", "facts", "expected"),
    [
        (0, {}, "ended by itself, with exit code 0"),
        (3, {"last_lines": ["x"]}, "exited with code 3"),
        (
            3,
            {"last_lines": [EXITS, "Stack (most recent call first):", *CRASH[8:10]]},
            "exited with code 3 in execute, /srv/models/m/1/model.py:12",
        ),
        (3, {"last_lines": [EXITS, "Stack (most recent call first):", CRASH[9]]}, "exited with code 3"),
        (1, {"last_lines": ["Boom: x", ""], "started": False}, "exited with code 1 before it had started: Boom: x"),
        (-15, {}, "was killed by signal 15 (SIGTERM)"),
        (-60, {}, "was killed by signal 60"),
        (-9, {"killed_because": "did not answer"}, "did not answer"),
        (3, {"killed_because": "did not answer"}, "exited with code 3"),  # it was quicker
        (1 << 16, {"killed_because": "did not answer"}, "did not answer"),
        (1 << 16, {}, "ended, and nobody could see how"),
        (
            -11,
            {"last_lines": CRASH},
            "was killed by signal 11 (SIGSEGV: invalid memory access in native code) in execute, "
            "/srv/models/m/1/model.py:12",
        ),
        (
            1,
            {"last_lines": ["MemoryError"], "memory_limit": 1 << 30},
            "ran out of its memory limit of 1 GiB and exited with code 1",
        ),
        (1, {"last_lines": ["MemoryError"]}, "got no memory and exited with code 1"),
        (1, {"last_lines": ["MemoryError, survived", "ValueError: x"], "memory_limit": 1}, "exited with code 1"),
        (
            -6,
            {
                "last_lines": [
                    "terminate called after throwing an instance of 'std::bad_alloc'",
                    "  what():  std::bad_alloc",
                    *CRASH[1:2],
                ]
            },
            "got no memory and was killed by signal 6 (SIGABRT: native code gave up)",
        ),
        (
            -6,
            {"last_lines": ["memory allocation of 1073741824 bytes failed"], "memory_limit": 1536},
            "ran out of its memory limit of 1.5 KiB and was killed by signal 6 (SIGABRT: native code gave up)",
        ),
    ],
)
def test_reasons(code: int, facts: dict[str, object], expected: str) -> None:
    assert reason(code, **facts) == expected  # type: ignore[arg-type]


def test_a_long_last_line_is_cut() -> None:
    assert len(reason(1, last_lines=["x" * 5000], started=False)) < 300


def test_sizes_as_people_say_them() -> None:
    assert [byte_count(n) for n in (5, 2048, 512 << 20, 3 << 30, 5 << 40)] == [
        "5 bytes",
        "2 KiB",
        "512 MiB",
        "3 GiB",
        "5120 GiB",
    ]
