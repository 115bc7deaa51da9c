"""The committed configurations and models are those of the plan, the same for both sides; requests are well formed."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import make_models
from benchmarks.bodies import grpc_message, http_request, perf_analyzer_data, tensor_bytes
from benchmarks.plan import CASES, YARDSTICKS, Case
from benchmarks.run import order, parser
from benchmarks.servers import HERE, lay_out_repository, parameter_lines

ALL_CASES = [*CASES, *YARDSTICKS.values()]
SIZES = {"FP32": 4, "INT32": 4, "INT64": 8}


def names(cases: list[Case]) -> list[str]:
    return [f"{case.side}-{case.model}" for case in cases]


@pytest.mark.parametrize("case", ALL_CASES, ids=names(ALL_CASES))
def test_configuration_is_the_same_on_both_sides(case: Case) -> None:
    config = (HERE / "repositories" / case.side / case.model / "config.pbtxt").read_text()
    assert f'name: "{case.model}"' in config
    assert "max_batch_size: 32\n" in config
    assert "dynamic_batching { }\n" in config
    assert "instance_group [ { count: 1 kind: KIND_CPU } ]\n" in config
    for tensor in case.inputs:
        dims = ", ".join(map(str, tensor.dims))
        assert f'name: "{tensor.name}" data_type: TYPE_{tensor.datatype} dims: [ {dims} ]' in config


def test_large_tensor_is_602_kilobytes() -> None:
    (picture,) = YARDSTICKS["identity_602k"].inputs
    assert len(tensor_bytes(picture, None)) == 602_112


@pytest.mark.parametrize("case", ALL_CASES, ids=names(ALL_CASES))
def test_http_request(case: Case) -> None:
    headers, body = http_request(case)
    split = int(headers["Inference-Header-Content-Length"])
    document = json.loads(body[:split])
    sizes = [SIZES[tensor.datatype] * int(np.prod(tensor.dims)) for tensor in case.inputs]
    assert [one["parameters"]["binary_data_size"] for one in document["inputs"]] == sizes
    assert len(body) - split == sum(sizes)


@pytest.mark.parametrize("case", ALL_CASES, ids=names(ALL_CASES))
def test_grpc_message_is_what_the_official_client_reads(case: Case) -> None:
    service = pytest.importorskip("tritonclient.grpc.service_pb2")
    framed = grpc_message(case)
    assert framed[0] == 0
    assert int.from_bytes(framed[1:5], "big") == len(framed) - 5
    request = service.ModelInferRequest.FromString(framed[5:])
    assert request.model_name == case.model
    assert [(one.name, one.datatype, tuple(one.shape)) for one in request.inputs] == [
        (tensor.name, tensor.datatype, (1, *tensor.dims)) for tensor in case.inputs
    ]
    assert list(request.raw_input_contents) == [tensor_bytes(tensor, case.vocabulary) for tensor in case.inputs]


def test_token_ids_stay_in_the_vocabulary() -> None:
    bert = next(case for case in CASES if case.model == "bert")
    assert bert.vocabulary == make_models.BERT_VOCABULARY
    ids = np.frombuffer(tensor_bytes(bert.inputs[0], bert.vocabulary), np.int64)
    rows = [row["input_ids"] for row in json.loads(perf_analyzer_data(bert))["data"]]
    assert ids.min() >= 0
    assert ids.max() < make_models.BERT_VOCABULARY
    assert all(len(row) == make_models.BERT_SEQUENCE for row in rows)
    assert 0 <= min(map(min, rows)) <= max(map(max, rows)) < make_models.BERT_VOCABULARY


def test_every_case_of_ours_has_its_model() -> None:
    assert set(make_models.MODELS) == {case.model for case in CASES}


@pytest.mark.parametrize("name", ["simple", "identity_602k", "mlp"])
def test_generated_models_are_the_same_every_time_and_compute_what_they_say(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    make_models.MODELS[name](tmp_path / "once.onnx")
    make_models.MODELS[name](tmp_path / "twice.onnx")
    assert (tmp_path / "once.onnx").read_bytes() == (tmp_path / "twice.onnx").read_bytes()
    case = next(case for case in CASES if case.model == name)
    feeds = {
        tensor.name: np.frombuffer(
            tensor_bytes(tensor, None), np.float32 if tensor.datatype == "FP32" else np.int32
        ).reshape(1, *tensor.dims)
        for tensor in case.inputs
    }
    session = onnxruntime.InferenceSession(str(tmp_path / "once.onnx"), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {key: np.concatenate([value, value]) for key, value in feeds.items()})
    if name == "simple":
        assert (outputs[0] == 2 * feeds["INPUT0"]).all()
        assert (outputs[1] == 0).all()
    elif name == "identity_602k":
        assert (outputs[0] == feeds["INPUT0"]).all()
    else:
        assert outputs[0].shape == (2, 10)
        assert np.isfinite(outputs[0]).all()


def test_repository_has_the_configuration_the_parameters_and_the_model(tmp_path: Path) -> None:
    (tmp_path / "simple.onnx").write_bytes(b"onnx")
    simple = next(case for case in CASES if case.model == "simple")
    target = lay_out_repository("atoll", [simple], tmp_path, {"session.intra_op.allow_spinning": "0"}, tmp_path / "r")
    assert (target / "simple" / "1" / "model.onnx").read_bytes() == b"onnx"
    config = (target / "simple" / "config.pbtxt").read_text()
    assert config.endswith('parameters { key: "session.intra_op.allow_spinning" value { string_value: "0" } }\n')


def test_parameter_values_are_quoted() -> None:
    assert parameter_lines({"key": 'a"b'}) == ['parameters { key: "key" value { string_value: "a\\"b" } }\n']


def test_yardstick_and_ours_take_turns_and_every_second_round_runs_backwards() -> None:
    cases = [case for case in CASES if case.model in ("simple", "identity_602k", "bert")]
    cells = list(order(cases, ["grpc"], [8], 2, with_rival=True))
    there = ["rival identity_fp32_16", "atoll simple", "rival identity_602k", "atoll identity_602k", "atoll bert"]
    assert [f"{case.side} {case.model}" for _, _, _, case in cells] == there + there[::-1]
    assert [round_number for round_number, _, _, _ in cells] == [1] * 5 + [2] * 5


def test_without_rival_only_ours_is_measured() -> None:
    cells = list(order(CASES, ["http", "grpc"], [1, 8], 1, with_rival=False))
    assert len(cells) == 2 * 2 * len(CASES)
    assert {case.side for _, _, _, case in cells} == {"atoll"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--models", "simple,resnet50"], "unknown: resnet50"),
        (["--protocols", "ftp"], "unknown: ftp"),
        (["--concurrency", "8,0"], "at least one request"),
        (["--model-parameter", "spinning"], "KEY=VALUE"),
    ],
)
def test_wrong_options_are_refused_with_a_reason(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(arguments)
    assert complaint in capsys.readouterr().err
