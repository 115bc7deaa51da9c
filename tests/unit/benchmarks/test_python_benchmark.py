"""The benchmark of Python models: its order, its ratios within a round, its targets, what it lays out."""

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.python.command import lay_out_models, order
from benchmarks.python.measure import Sample
from benchmarks.python.plan import LOADS, SERVERS, targets
from benchmarks.python.report import ratios, render

SAMPLE = Sample(1, "process", "identity FP32[16]", "grpc", 8, 3000.0, 100.0, 300.0, 50.0, 9000, 0.0, 0.0)
RIVAL = replace(SAMPLE, server="rival", throughput=1000.0, p50_us=200.0)


def test_each_round_asks_every_server_and_every_second_one_backwards() -> None:
    cells = list(order(LOADS[:1], ["grpc"], [8], SERVERS, 2))
    assert [(cell[0], cell[1]) for cell in cells] == [
        *((1, server) for server in SERVERS),
        *((2, server) for server in reversed(SERVERS)),
    ]


def test_only_what_is_asked_for_is_measured() -> None:
    assert {(cell[3], cell[4]) for cell in order(LOADS, ["http"], [1], SERVERS, 1)} == {("http", 1)}


def test_ratios_are_made_within_a_round() -> None:
    samples = [SAMPLE, RIVAL, replace(SAMPLE, round=2, throughput=1000.0), replace(RIVAL, round=2, throughput=2000.0)]
    samples.append(replace(SAMPLE, round=3))
    found = ratios(samples, "process", SAMPLE.cell, lambda one: one.throughput)
    assert found is not None
    assert (found.low, found.high, found.runs) == (0.5, 3.0, 2)


def test_without_the_rival_there_are_figures_and_no_targets() -> None:
    text = render([SAMPLE], {"processor": "x"})
    assert "3,000" in text
    assert "## Targets" not in text


def test_targets_are_judged() -> None:
    text = render([SAMPLE, RIVAL], {})
    (line,) = [line for line in text.splitlines() if ">= 1.5" in line]
    assert "3.00" in line
    assert line.endswith("| yes |")


def test_every_planned_cell_has_a_target() -> None:
    wanted = {(load.title, protocol, count) for load in LOADS for protocol in load.protocols for count in load.clients}
    assert {(one.load, one.protocol, one.clients) for one in targets()} == wanted


@pytest.mark.parametrize("server", SERVERS)
def test_all_servers_get_the_same_models(server: str, tmp_path: Path) -> None:
    repository = lay_out_models(server, LOADS, tmp_path / "models")  # type: ignore[arg-type]
    models = {model for load in LOADS for model in load.models}
    assert {folder.name for folder in repository.iterdir()} == models
    for folder in repository.iterdir():
        text = (folder / "config.pbtxt").read_text()
        assert ('"isolation"' in text) == (server == "thread")
        assert (folder / "1" / "model.py").is_file()
