"""The benchmark of scheduling: what it compares, what it makes of the figures, and what it counts in process."""

from dataclasses import replace
from pathlib import Path

from benchmarks.scheduling.command import main
from benchmarks.scheduling.in_process import BatcherCost, LiveSequences, batcher_cost
from benchmarks.scheduling.plan import COMPARISONS
from benchmarks.scheduling.report import ratios, render
from benchmarks.scheduling.repository import lay_out
from benchmarks.scheduling.served import Sample

STEPS = next(one for one in COMPARISONS if one.subject == "steps")
OURS = Sample(1, "atoll", "two_identities", "grpc", 8, 3000, 900, 2000, 150, 9000)
THEIRS = replace(OURS, side="rival", throughput=2000, p50_us=1200)


def test_ratios_are_of_one_round() -> None:
    comparison = COMPARISONS[0]
    second = replace(OURS, round=2, throughput=9000)  # whose rival failed
    assert ratios([OURS, THEIRS, second], comparison, "grpc", 8) == [1.5]
    assert ratios([OURS, THEIRS], comparison, "http", 8) == []
    one, three = (replace(OURS, model=model, clients=1) for model in ("one_step", "three_steps"))
    steps = [replace(three, p50_us=160), replace(one, p50_us=100)]
    assert ratios(steps, STEPS, "grpc", 1) == [1.6]
    assert STEPS.met_by(1.6)
    assert not COMPARISONS[0].met_by(1.49)


def test_the_report_has_each_figure() -> None:
    costs = [BatcherCost(10.0, 2.0, 11.0, 30.0), BatcherCost(12.0, 2.0, 13.0, 28.0)]
    live = [LiveSequences(10_000, 1234.0, 5.0, 20_000.0, 0)]
    text = render([OURS, THEIRS], costs, live, {"machine": "this"}, ["one thing"])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    ensembles = ["ensembles", "atoll two_identities", "rival two_identities", "grpc", "8"]
    assert [*ensembles, "throughput", ">= 1.5", "1.50", "1.50 to 1.50", "1", "yes"] in rows
    assert "9.0 us of processor time for each request (lowest 8.0, highest 10.0, 2 runs; aim: below 15)" in text
    assert "10,000 live sequences: 1,234 bytes held for each, 5 when they had ended; 20,000 requests/s; 0 wrong" in text
    assert text.endswith("Failed: one thing\n")


def test_the_batcher_is_counted_request_by_request() -> None:
    cost = batcher_cost(200)
    assert cost.cpu_us > cost.making_us > 0
    assert 1 <= cost.mean_batch <= 32


def test_without_a_rival_the_batcher_can_be_measured_alone(tmp_path: Path) -> None:
    assert main(["--only", "batcher", "--rounds", "1", "--requests", "50", "--output", str(tmp_path)]) == 0
    assert "## The batcher by itself" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "samples.json").exists()


def test_both_servers_get_the_same_ensemble(tmp_path: Path) -> None:
    ours, theirs = lay_out(tmp_path / "ours", with_onnx=True), lay_out(tmp_path / "theirs", with_onnx=False)
    assert {one.name for one in theirs.iterdir()} == {"identity_first", "identity_second", "two_identities"}
    for one in theirs.rglob("*.*"):
        assert one.read_bytes() == (ours / one.relative_to(theirs)).read_bytes()
    assert (ours / "in_sequence" / "1" / "model.onnx").exists()
    assert 'model_name: "identity_first_thread"' in (ours / "two_in_threads" / "config.pbtxt").read_text()
