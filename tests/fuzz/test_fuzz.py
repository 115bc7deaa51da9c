"""Every reader of a client's bytes, against right inputs that were damaged and against a coverage-guided fuzzer."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.targets import TARGETS

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz-codecs"
RUNS = 5000


@pytest.mark.parametrize("name", TARGETS)
def test_its_seeds_are_read(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_damage_breaks_no_promise(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(target.seeds), st.data())
    def damaged(seed: bytes, data: st.DataObject) -> None:
        changed = bytearray(seed)
        for _ in range(data.draw(st.integers(0, 4))):
            position = data.draw(st.integers(0, len(changed)))
            piece = data.draw(st.binary(max_size=6) | st.sampled_from([b"\0", b"\xff", b"9" * 25, b"[" * 40, b'"']))
            removed = data.draw(st.integers(0, 8))
            changed[position : position + removed] = piece
        target.run(bytes(changed))

    damaged()


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this Python")
@pytest.mark.parametrize("name", TARGETS)
def test_a_fuzzer_finds_nothing(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), name, "--seconds", "60", "--runs", str(RUNS), "--seed", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-4000:]
    assert f"Done {RUNS} runs" in ended.stderr
