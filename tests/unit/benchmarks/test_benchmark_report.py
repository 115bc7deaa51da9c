"""Ratios are made within a round, medians over the rounds, and the table says which targets were met."""

from typing import Any

import pytest
from benchmarks.plan import CASES, TARGETS, YARDSTICKS, Target
from benchmarks.report import figure, render
from benchmarks.samples import Sample, measured, ratios_to_yardstick, spread


def sample(**changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "round": 1,
        "side": "atoll",
        "model": "simple",
        "protocol": "http",
        "concurrency": 8,
        "throughput": 1000.0,
        "p50_us": 100.0,
        "p99_us": 200.0,
        "cpu_us": 40.0,
        "requests": 3000,
        "idle_server_cores": 0.0,
        "foreign_cores": 0.0,
    }
    return Sample(**(fields | changes))


def yardstick(**changes: Any) -> Sample:
    return sample(side="rival", model="identity_fp32_16", **changes)


# The machine halves its speed after the first round: absolute figures do, ratios within a round do not.
ROUNDS = [
    sample(round=1, throughput=3000.0),
    yardstick(round=1, throughput=2000.0),
    sample(round=2, throughput=1600.0),
    yardstick(round=2, throughput=1000.0),
    sample(round=3, throughput=1700.0),
    yardstick(round=3, throughput=1000.0),
]


def test_ratios_are_taken_within_a_round() -> None:
    ratios = ratios_to_yardstick(ROUNDS, "simple", "http", 8, lambda one: one.throughput)
    assert ratios == pytest.approx([1.5, 1.6, 1.7])


def test_a_round_without_its_yardstick_gives_no_ratio() -> None:
    ratios = ratios_to_yardstick(ROUNDS[:3], "simple", "http", 8, lambda one: one.throughput)
    assert ratios == pytest.approx([1.5])


def test_other_protocols_and_other_concurrency_are_left_out() -> None:
    stray = [yardstick(protocol="grpc", throughput=1.0), yardstick(concurrency=1, throughput=1.0)]
    ratios = ratios_to_yardstick([*stray, *ROUNDS[:2]], "simple", "http", 8, lambda one: one.throughput)
    assert ratios == pytest.approx([1.5])


def test_a_model_without_yardstick_has_no_ratio_to_it() -> None:
    heavy = [sample(model="bert"), yardstick()]
    assert ratios_to_yardstick(heavy, "bert", "http", 8, lambda one: one.throughput) == []


@pytest.mark.parametrize(
    ("target", "samples", "expected"),
    [
        (Target("simple", "http", 8, "throughput / yardstick", at_least=1.5), ROUNDS, 1.6),
        (Target("simple", "http", 8, "p50 / yardstick", at_most=0.6), [sample(p50_us=50.0), yardstick()], 0.5),
        (Target("simple", "http", 8, "server CPU us / request", at_most=44), [sample(), sample(round=2)], 40),
        (Target("bert", "http", 8, "p99 / p50", at_most=3), [sample(model="bert")], 2),
        (Target("bert", "http", 8, "throughput / limit", at_least=0.9), [sample(model="bert", limit=1250.0)], 0.8),
    ],
)
def test_what_a_target_bounds(target: Target, samples: list[Sample], expected: float) -> None:
    found = measured(samples, target)
    assert found is not None
    assert found.median == pytest.approx(expected)


def test_what_was_not_measured_meets_no_target() -> None:
    assert measured([], Target("simple", "http", 8, "p99 / p50", at_most=3)) is None
    assert measured([sample(limit=None)], Target("simple", "http", 8, "throughput / limit", at_least=1)) is None


def test_spread() -> None:
    found = spread([3.0, 1.0, 2.0, 10.0])
    assert found is not None
    assert (found.median, found.low, found.high, found.runs) == (2.5, 1.0, 10.0, 4)
    assert spread([]) is None


def test_a_bound_is_met_at_its_edge() -> None:
    at_least = Target("simple", "http", 8, "throughput / yardstick", at_least=1.5)
    at_most = Target("simple", "http", 8, "p50 / yardstick", at_most=0.6)
    assert at_least.met_by(1.5)
    assert not at_least.met_by(1.49)
    assert at_most.met_by(0.6)
    assert not at_most.met_by(0.61)


def test_every_target_is_about_a_model_of_the_plan_and_can_be_measured() -> None:
    models = {case.model: case for case in CASES}
    for target in TARGETS:
        assert (target.at_least is None) != (target.at_most is None)
        if "yardstick" in target.measure:
            assert models[target.model].yardstick in YARDSTICKS
        else:
            assert target.model in models


def line_with(report: str, *parts: str) -> str:
    (found,) = [line for line in report.splitlines() if all(part in line for part in parts)]
    return found


def test_report_shows_medians_ratios_and_verdicts() -> None:
    report = render([*ROUNDS, sample(model="bert", throughput=80.0, limit=100.0)], {"processor": "one of them"})
    assert "- processor: one of them" in report
    cells = [cell.strip() for cell in line_with(report, "| simple", "1,700").strip("|").split("|")]
    assert cells[:5] == ["simple", "http", "8", "3", "1,700"]
    assert "1.60" in cells
    assert [cell.strip() for cell in line_with(report, "| rival: identity_fp32_16").strip("|").split("|")][9] == "-"
    verdict = line_with(report, "throughput / yardstick", "1.50 to 1.70")
    assert ">= 1.5" in verdict
    assert verdict.rstrip("| ").endswith("yes")
    assert line_with(report, "throughput / limit", "0.80").rstrip("| ").endswith("NO")
    assert "Warning" not in report


def test_every_line_of_a_table_has_the_same_width() -> None:
    lines = [line for line in render(ROUNDS, {}).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 2  # two tables


def test_report_says_what_disturbed_and_what_failed() -> None:
    report = render([sample(foreign_cores=0.7), sample(idle_server_cores=0.2)], {}, ["the rival fell over"])
    assert "1 of 2 measurements programs outside the benchmark used more than 0.15 cores (at worst 0.70" in report
    assert (
        "1 of 2 measurements the server that should have been idle used more than 0.05 cores (at worst 0.20" in report
    )
    assert "Failed: the rival fell over" in report


@pytest.mark.parametrize(("value", "text"), [(36012.4, "36,012"), (103.2, "103"), (24.91, "24.9"), (1.0, "1.00")])
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text


def test_every_measure_stands_beside_its_ratio() -> None:
    text = render([sample(p50_us=50.0, p99_us=150.0, cpu_us=10.0, throughput=1500.0), yardstick()], {})
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    (row,) = [dict(zip(table[0], line, strict=False)) for line in table if line[:3] == ["simple", "http", "8"]][:1]
    ratios = {name: row[name] for name in ("x yardstick", "p50 x", "p99 x", "CPU x")}
    assert ratios == {"x yardstick": "1.50", "p50 x": "0.50", "p99 x": "0.75", "CPU x": "0.25"}
