"""The benchmark of shared memory: what is asked of the load generator, the ratios, and what is said of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import load as load_module
from benchmarks.load import LoadError, PerfAnalyzer, WrkAndH2load
from benchmarks.python.measure import Sample
from benchmarks.shared_memory.command import parser
from benchmarks.shared_memory.plan import IN_REQUESTS, LOADS, SHARED
from benchmarks.shared_memory.report import ratio, render

PLAIN = Sample(1, "process", f"1MB, {IN_REQUESTS}", "grpc", 4, 1000.0, 900.0, 1500.0, 600.0, 3000, 0.0, 0.0)
BY_REGION = replace(PLAIN, load=f"1MB, {SHARED}", throughput=1500.0, p50_us=450.0, cpu_us=300.0)
RIVAL = replace(PLAIN, server="rival", throughput=500.0)
CELL = ("1MB", "grpc", 4)


def test_each_tensor_travels_both_ways() -> None:
    for size in {load.size for load in LOADS}:
        first, second = (load for load in LOADS if load.size == size)
        assert (first.way, second.way) == (IN_REQUESTS, SHARED)
        assert replace(first, way=second.way, title=second.title) == second
        assert first.case().shared_output_bytes == 0
        assert second.case().shared_output_bytes == 4 * second.elements


def test_the_load_generator_is_told_to_share_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], seconds: float, directory: Path) -> str:
        commands.append(command)
        raise LoadError("not run here")

    monkeypatch.setattr(load_module, "_run", run)
    for load in LOADS[:2]:
        with pytest.raises(LoadError):
            PerfAnalyzer(tmp_path).drive(load.case(), "http", 1, 1, 1.0)
    assert "--shared-memory" not in commands[0]
    at = commands[1].index("--shared-memory")
    assert commands[1][at : at + 4] == ["--shared-memory", "system", "--output-shared-memory-size", "1048576"]
    with pytest.raises(LoadError, match="share no memory"):
        WrkAndH2load(tmp_path).drive(LOADS[1].case(), "http", 1, 1, 1.0)


def test_ratios_are_made_within_a_round() -> None:
    samples = [PLAIN, BY_REGION, replace(PLAIN, round=2, throughput=500.0), replace(BY_REGION, round=2)]
    samples.append(replace(PLAIN, round=3))
    found = ratio(samples, CELL, ("process", SHARED), ("process", IN_REQUESTS), lambda one: one.throughput)  # type: ignore[arg-type]
    assert found is not None
    assert (found.low, found.high, found.runs) == (1.5, 3.0, 2)


def test_the_report_judges_what_has_a_target() -> None:
    lines = render([PLAIN, BY_REGION, RIVAL], {}).splitlines()
    (shared,) = [line for line in lines if "Atoll, shared over in requests" in line]
    assert [one.strip() for one in shared.split("|")[5:-1]] == [
        "1.50",
        "1.50 to 1.50",
        "0.50",
        "0.50",
        "1",
        ">= 1: met",
    ]
    (over_rival,) = [line for line in lines if "in requests, Atoll over real Triton" in line]
    assert over_rival.split("|")[-2].strip() == ">= 1.2: met"
    slow = render([PLAIN, replace(RIVAL, throughput=900.0)], {})
    assert ">= 1.2: NOT met" in slow


def test_without_the_rival_only_what_was_measured_is_compared() -> None:
    text = render([PLAIN, BY_REGION], {}, ["something failed"])
    assert "real Triton" not in text
    assert "Failed: something failed" in text


def test_a_disturbed_machine_is_told_of() -> None:
    assert "Warning: in 1 of 2 measurements" in render([PLAIN, replace(BY_REGION, foreign_cores=1.0)], {})


def test_all_is_measured_unless_asked_otherwise() -> None:
    options = parser().parse_args([])
    assert (options.loads, options.protocols, options.clients) == (["1MB", "16MB"], ["http", "grpc"], [])
    with pytest.raises(SystemExit):
        parser().parse_args(["--loads=2MB"])
