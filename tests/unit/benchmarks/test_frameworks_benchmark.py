"""The benchmark of frameworks: what it plans, what it lays out, and what it makes of the figures."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.frameworks.command import parser
from benchmarks.frameworks.measure import FrameworkBench, PairSample
from benchmarks.frameworks.own_loop import LOADERS, turns
from benchmarks.frameworks.plan import FORMATS, FRAMEWORKS, order, pairs, subject, subjects
from benchmarks.frameworks.report import of_own_loop, render
from benchmarks.frameworks.repository import config, lay_out, model_file
from benchmarks.load import WrkAndH2load
from benchmarks.samples import Sample
from benchmarks.servers import RunningServer

RESNET = subject("resnet18", "onnx")
SAMPLE = Sample(
    round=1, side="atoll", model=RESNET.model, protocol="grpc", concurrency=8, throughput=90.0, p50_us=80_000.0,
    p99_us=90_000.0, cpu_us=20_000.0, requests=900, idle_server_cores=0.0, foreign_cores=0.0, executions={8: 100},
    limit=100.0, limit_seconds={8: 0.08},
)  # fmt: skip


def test_the_formats_of_a_net_are_measured_beside_each_other() -> None:
    found = [one.model for one in subjects(("onnxruntime", "openvino", "trees"), ("digits", "resnet18"))]
    assert found == [
        "digits_onnx", "digits_openvino", "digits_openvino_f32", "resnet18_onnx", "resnet18_openvino",
        "resnet18_openvino_f32", "trees_xgboost", "trees_lightgbm",
    ]  # fmt: skip
    assert [one.model for one in subjects(("trees",), ("resnet18",))] == []
    assert all(one.name in LOADERS for one in FORMATS)


def test_every_second_round_runs_backwards() -> None:
    found = subjects(("onnxruntime", "jax"), ("digits",))
    planned = [(number, clients, one.format.name) for number, clients, one in order(found, (8, 32), 2)]
    assert planned == [
        (1, 8, "onnx"), (1, 8, "jax"), (1, 32, "onnx"), (1, 32, "jax"),
        (2, 8, "jax"), (2, 8, "onnx"), (2, 32, "jax"), (2, 32, "onnx"),
    ]  # fmt: skip


def test_pairs_need_both_frameworks() -> None:
    assert [one.second.model for one in pairs(("onnxruntime",))] == ["bert_onnx"]
    across = [one for one in pairs(FRAMEWORKS) if one.first.format.framework != one.second.format.framework]
    assert len(across) == 2


def test_the_own_loop_gives_each_size_its_turns() -> None:
    now = 0.0
    ran: list[int] = []

    def run(size: int) -> None:
        nonlocal now
        ran.append(size)
        now += size * 0.125

    assert turns(run, [1, 8], 24.0, lambda: now) == {1: 0.125, 8: 1.0}
    assert ran[:4] == [1, 1, 8, 8], "each is run before it is measured"
    assert ran[4:].count(8) == 3 * 4


def test_a_repository_has_the_file_and_a_full_configuration(tmp_path: Path) -> None:
    trees = subjects(("trees",), ("digits",))
    lay_out([subject("digits", "onnx"), *trees], tmp_path)
    assert (tmp_path / "digits_onnx" / "1" / "model.onnx").stat().st_size > 50_000
    assert (tmp_path / "trees_xgboost" / "1" / "xgboost.ubj").read_bytes() == model_file(trees[0]).read_bytes()
    text = config(RESNET)
    assert 'backend: "onnxruntime"' in text
    assert 'input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]' in text
    assert "max_batch_size: 32" in text
    assert 'key: "INFERENCE_PRECISION_HINT" value { string_value: "f32" }' in config(subject("digits", "openvino_f32"))


def test_the_target_is_held_to_the_median_of_the_rounds() -> None:
    samples = [SAMPLE, replace(SAMPLE, round=2, throughput=80.0), replace(SAMPLE, round=3, throughput=95.0)]
    share = of_own_loop(samples)
    assert share is not None
    assert (share.median, share.low, share.high, share.runs) == (0.9, 0.8, 0.95, 3)
    row = _row(render(samples, [], FRAMEWORKS, {}), "resnet18", "onnxruntime")
    assert row[3:] == ["8", "3", "90.0", "8.00", "100", "0.90", "0.80 to 0.95", ">= 0.9", "yes", "80,000", "20,000"]
    slower = [replace(one, throughput=one.throughput / 2) for one in samples]
    assert "NO" in _row(render(slower, [], FRAMEWORKS, {}), "resnet18", "onnxruntime")
    without = replace(SAMPLE, limit=None, limit_seconds={})
    assert _row(render([without], [], FRAMEWORKS, {}), "resnet18", "onnxruntime")[7:12] == [
        "-",
        "-",
        "-",
        ">= 0.9",
        "-",
    ]


def test_openvino_stands_beside_onnx_runtime() -> None:
    faster = replace(SAMPLE, model="resnet18_openvino", throughput=180.0, limit=150.0)
    text = render([SAMPLE, faster, replace(faster, round=2)], [], FRAMEWORKS, {"machine": "this"}, ["one thing"])
    beside = text.partition("## OpenVINO over ONNX Runtime")[2]
    assert _row(beside, "resnet18", "openvino") == ["resnet18", "openvino", "8", "2.00", "2.00 to 2.00", "1.50", "1"]
    assert text.endswith("Failed: one thing\n")


def test_two_at_once_are_counted_in_the_time_that_each_takes_alone() -> None:
    one = PairSample(1, "resnet18_onnx", "bert_onnx", 8, 100.0, 400.0, 60.0, 220.0)
    assert one.together == pytest.approx(1.15)
    assert one.document()["together"] == one.together
    text = render([], [one, replace(one, round=2, first_beside=50.0)], FRAMEWORKS, {})
    assert _row(text, "resnet18_onnx", "bert_onnx")[3:] == [
        "100", "400", "55.0 and 220", "1.10", "1.05 to 1.15", "2",
    ]  # fmt: skip
    assert "own loop" not in text


def test_a_server_that_has_ended_is_left_out() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        servers = {
            "jax": RunningServer("atoll", ended, 1, 2),
            "onnxruntime": RunningServer("atoll", running, 3, 4),
        }
        bench = FrameworkBench(servers, WrkAndH2load(Path()), [RESNET], (8,), 1.0, own_loop=False)
        bench.leave_out_ended()
        assert bench.has_server(RESNET)
        assert not bench.has_server(subject("digits", "jax"))
    finally:
        running.communicate(b"\n", timeout=30)


def test_the_options_say_what_there_is() -> None:
    options = parser().parse_args(["--frameworks", "openvino,onnxruntime", "--clients", "8", "--nets", "digits"])
    assert (options.frameworks, options.clients, options.nets) == (["openvino", "onnxruntime"], [8], ["digits"])
    with pytest.raises(SystemExit):
        parser().parse_args(["--frameworks", "caffe"])


def _row(text: str, *begins: str) -> list[str]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    (found,) = [row for row in rows if row[: len(begins)] == list(begins)]
    return found
