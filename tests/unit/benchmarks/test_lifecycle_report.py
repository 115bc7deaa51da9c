"""The lifecycle benchmark's command line, models and report: what must be zero decides the exit status."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.lifecycle import command, cycles, report
from benchmarks.lifecycle.answers import Change, Tally
from benchmarks.lifecycle.cycles import Cycle, Cycles
from benchmarks.lifecycle.memory import Footprint
from benchmarks.lifecycle.reload import ALL, Reloads
from benchmarks.lifecycle.repositories import (
    PYTHON_MODEL,
    SCALE,
    SMALL_MODEL,
    ScaleModel,
    big_model,
    big_width,
    copies,
)
from benchmarks.lifecycle.resident import Resident
from benchmarks.lifecycle.startup import Start
from benchmarks.servers import ServerError


def reloads(failed: int = 0, wrong: int = 0, requests: int = 1000, seen: int = 3) -> Reloads:
    quiet = Tally("no reloads", 500, 0, 0, 100.0, 200.0, 300.0)
    whole = Tally(ALL, requests, failed, wrong, 110.0, 400.0, 900.0)
    changes = (
        Change("load", 1, 0, 90_000_000),
        Change("reload", 2, 0, 50_000_000),
        Change("reload", 3, 0, 70_000_000),
    )
    return Reloads(2, changes, {"http": (quiet, whole)}, 3, seen, ("http: 503",) if failed else ())


def test_the_reload_table_says_how_many_requests_failed() -> None:
    text = report.reload_section(reloads(failed=7, wrong=2))
    assert "**Failed requests: 7. Wrong answers: 2.**" in text
    assert "A failure: http: 503" in text
    assert "answers came from 3 of 3 models" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| http     | all")]
    assert [cell.strip() for cell in row.split("|")[3:10]] == ["1,000", "7", "2", "110", "400", "900", "2.00"]
    assert "| another file         | 2     | 60.0      | 70.0   |" in text


@pytest.mark.parametrize(
    ("found", "clean"),
    [
        (reloads(), True),
        (reloads(failed=1), False),
        (reloads(wrong=1), False),
        (reloads(requests=0), False),  # nobody asked
        (reloads(seen=2), False),  # a model was never served
    ],
)
def test_reloads_are_clean_when_every_request_was_answered_rightly(
    found: Reloads, clean: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found.clean is clean
    monkeypatch.setattr("benchmarks.lifecycle.reload.measure", lambda *_: found)
    assert command.main(["reload", "--output", str(tmp_path)]) == (0 if clean else 1)
    assert "## Reload under load" in capsys.readouterr().out
    assert '"published": 3' in (tmp_path / "measurements.json").read_text()


def leaking(last: int) -> Cycles:
    done = [Cycle(number, 300_000_000, size, 400_000_000, 0.5, 0.01) for number, size in ((1, 90_000_000), (5, last))]
    return Cycles(100_000_000, 1, 60_000_000, tuple(done))


@pytest.mark.parametrize(("last", "status"), [(90_400_000, 0), (290_000_000, 1)])
def test_a_leak_decides_the_exit_status(
    last: int, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cycles, "measure", lambda *_: leaking(last))
    assert command.main(["cycles", "--layers", "1", "--output", str(tmp_path)]) == status
    out = capsys.readouterr().out
    assert ("**Growth per cycle: +100.0 KB.**" in out) == (not status)
    assert ("Failed: cycles: memory leaks, 50.0 MB with each" in out) == bool(status)


def test_one_part_that_cannot_be_measured_does_not_cost_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise ServerError("port 1 cannot be had")

    monkeypatch.setattr("benchmarks.lifecycle.reload.measure", fail)
    monkeypatch.setattr(cycles, "measure", lambda *_: leaking(90_000_000))
    assert command.main(["cycles", "reload", "--layers", "1", "--output", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "Failed: reload: port 1 cannot be had" in out
    assert "## 2 loads and unloads" in out


@pytest.mark.parametrize("arguments", [["stratup"], ["--models", "0"], ["--models", "1,x"], ["--cycles", "0"]])
def test_wrong_options_are_refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parser().parse_args(arguments)
    assert "usage" in capsys.readouterr().err


def test_start_up_and_memory_name_the_other_server_for_what_it_is() -> None:
    starts = [Start(1, "atoll", 1, None, 0.5), Start(1, "atoll", 101, 4, 1.0), Start(1, "rival", 1, None, 2.0)]
    text = report.startup_section(starts)
    assert "real Triton, Python models" in text
    assert "| 4            |" in text
    (row,) = [line for line in text.splitlines() if "| 101 " in line]
    assert row.split("|")[-2].strip() == "5.00"
    sizes = [
        Footprint("atoll", 1, Resident(80_000_000, 70_000_000, 9)),
        Footprint("atoll", 101, Resident(100_000_000, 90_000_000, 109)),
    ]
    (row,) = [line for line in report.memory_section(sizes).splitlines() if "| 101 " in line]
    assert [cell.strip() for cell in row.split("|")[-4:-1]] == ["200", "200", "1.0"]


def test_copies_are_models_of_their_own(tmp_path: Path) -> None:
    repository = copies(PYTHON_MODEL, tmp_path / "python", 3)
    assert sorted(one.name for one in repository.iterdir()) == ["model_000", "model_001", "model_002"]
    text = (repository / "model_002" / "config.pbtxt").read_text()
    assert 'name: "model_002"' in text
    assert "identity_fp32_16" not in text
    assert (repository / "model_002" / "1" / "model.py").exists()
    assert (copies(SMALL_MODEL, tmp_path / "onnx", 1) / "model_000" / "1" / "model.onnx").exists()


def test_published_files_multiply_by_their_factor(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = ScaleModel(tmp_path, [1, 2])
    row = np.arange(16, dtype=np.float32).reshape(1, 16)
    for factor in (1, 2):
        model.publish(factor)
        session = runtime.InferenceSession(str(model.repository / SCALE / "1" / "model.onnx"))
        (out,) = session.run(["OUT"], {"IN": row})
        assert np.array_equal(out, row * factor)
    model.set_instances(3)
    assert "count: 3" in (model.repository / SCALE / "config.pbtxt").read_text()


def test_the_big_model_is_as_big_as_asked_for(tmp_path: Path) -> None:
    for layers in (1, 4):
        file = big_model(tmp_path / str(layers), 1.0, layers)
        assert file.stat().st_size == pytest.approx(1e6, rel=0.05)
    assert big_width(100) == 5000
