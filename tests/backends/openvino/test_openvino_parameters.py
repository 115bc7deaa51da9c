"""What a configuration says about an OpenVINO model: devices, properties, batches and shapes, and names of tensors."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op

from atoll.config.model_config import ModelInstanceGroup, ModelOutput
from atoll.config.signature import ModelSignature
from atoll.errors import ConfigError
from atoll.tensor import DataType


def load_with(models: Any, **parameters: str) -> Any:
    return models.backend.load(models.source(parameters=parameters))


def compiled_property(model: Any, name: str) -> str:
    value = model._compiled.get_property(name)
    return str(value.get_type_name() if isinstance(value, ov.Type) else value)


def shapes(signature: ModelSignature) -> list[Any]:
    return [one.shape for one in (*signature.inputs, *signature.outputs)]


@pytest.mark.parametrize(
    ("parameters", "name", "expected"),
    [
        ({"NUM_STREAMS": "2"}, "NUM_STREAMS", "2"),
        ({"NUM_STREAMS": " 2 "}, "NUM_STREAMS", "2"),
        ({"INFERENCE_NUM_THREADS": "1"}, "INFERENCE_NUM_THREADS", "1"),
        ({"PERFORMANCE_HINT": "THROUGHPUT"}, "PERFORMANCE_HINT", "THROUGHPUT"),
        ({"PERFORMANCE_HINT": "CUMULATIVE_THROUGHPUT"}, "PERFORMANCE_HINT", "CUMULATIVE_THROUGHPUT"),
        ({"INFERENCE_PRECISION_HINT": "f32"}, "INFERENCE_PRECISION_HINT", "f32"),
        ({"INFERENCE_PRECISION_HINT": "bf16"}, "INFERENCE_PRECISION_HINT", "bf16"),
        ({"HINT_BF16": "YES"}, "INFERENCE_PRECISION_HINT", "bf16"),
        ({"HINT_BF16": "NO", "INFERENCE_PRECISION_HINT": "f32"}, "INFERENCE_PRECISION_HINT", "f32"),
        ({"ENABLE_CPU_PINNING": "NO"}, "ENABLE_CPU_PINNING", "False"),
    ],
)
def test_properties_reach_openvino(models: Any, parameters: dict[str, str], name: str, expected: str) -> None:
    models.dense()
    assert compiled_property(load_with(models, **parameters), name) == expected


@pytest.mark.parametrize(
    ("parameters", "expected"), [({}, "2"), ({"NUM_STREAMS": "1"}, "1"), ({"PERFORMANCE_HINT": "LATENCY"}, "1")]
)
def test_as_many_streams_as_instances(models: Any, parameters: dict[str, str], expected: str) -> None:
    models.dense()
    groups = (ModelInstanceGroup(count=1), ModelInstanceGroup(count=1))
    model = models.backend.load(models.source(parameters=parameters, instance_group=groups))
    assert compiled_property(model, "NUM_STREAMS") == expected


@pytest.mark.parametrize("device", ["CPU", "AUTO", "AUTO:CPU", "HETERO:CPU", "MULTI:CPU"])
def test_devices(models: Any, device: str) -> None:
    models.dense()
    model = load_with(models, TARGET_DEVICE=device)
    assert model.bounded is (device == "CPU")
    source = models.source(parameters={"TARGET_DEVICE": device})
    assert models.instance(source).execute({"X": np.ones((2, 4), np.float32)}, ["Y"])["Y"].tolist() == [[4.0] * 3] * 2


@pytest.mark.parametrize("device", ["GPU", "GPU.7", "TOASTER", "AUTO:TOASTER"])
def test_a_device_that_is_not_there(models: Any, device: str) -> None:
    models.dense()
    with pytest.raises(ConfigError, match=r"model 'm'") as refusal:
        load_with(models, TARGET_DEVICE=device)
    assert device.removeprefix("AUTO:").removesuffix(".7") in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NUM_STREAMS", "many"),
        ("NUM_STREAMS", "-5"),
        ("PERFORMANCE_HINT", "FAST"),
        ("INFERENCE_PRECISION_HINT", "bf17"),
        ("INFERENCE_NUM_THREADS", "x"),
        ("ENABLE_CPU_PINNING", "maybe"),
    ],
)
def test_a_value_that_openvino_does_not_take(models: Any, name: str, value: str) -> None:
    models.dense()
    with pytest.raises(ConfigError) as refusal:
        load_with(models, **{name: value, "PERF_COUNT": "NO"})
    text = str(refusal.value)
    assert f"parameter '{name}' of model 'm' is '{value}'" in text
    assert "Properties of device CPU: CPU_DENORMALS_OPTIMIZATION" in text
    assert "Exception from" not in text
    assert refusal.value.problems[0].path == f"parameters['{name}']"


def test_a_property_that_can_only_be_read(models: Any) -> None:
    models.dense()
    with pytest.raises(ConfigError, match=r"'FULL_DEVICE_NAME' .* only tells it; what can be set is .*NUM_STREAMS"):
        load_with(models, FULL_DEVICE_NAME="mine")


def test_other_keys_are_left_alone(models: Any, caplog: pytest.LogCaptureFixture) -> None:
    models.dense()
    with caplog.at_level(logging.WARNING):
        load_with(models, NUM_STREEMS="2", my_own_key="x", COMPILATION_NUM_THREADS="2", UNHEARD_OF="1")
    assert [one.getMessage() for one in caplog.records] == [
        "model 'm': parameter 'NUM_STREEMS' is no property of device CPU and is left alone; did you mean NUM_STREAMS?",
        "model 'm': parameter 'UNHEARD_OF' is no property of device CPU and is left alone",
    ]


def test_hints_that_contradict_each_other(models: Any) -> None:
    models.dense()
    with pytest.raises(ConfigError, match=r"INFERENCE_PRECISION_HINT.*HINT_BF16"):
        load_with(models, HINT_BF16="YES", INFERENCE_PRECISION_HINT="f32")


def test_compiled_models_are_kept_in_a_folder(models: Any, tmp_path: Path) -> None:
    models.dense()
    cache = tmp_path / "cache"
    source = models.source(parameters={"CACHE_DIR": str(cache)})
    for _ in range(2):
        found = models.instance(source).execute({"X": np.ones((1, 4), np.float32)}, ["Y"])["Y"]
        assert found.tolist() == [[4.0] * 3]
    (blob,) = cache.glob("*.blob")
    blob.write_bytes(blob.read_bytes()[: blob.stat().st_size // 2])  # a damaged one is no reason not to serve
    assert models.instance(source).execute({"X": np.ones((1, 4), np.float32)}, ["Y"])["Y"].tolist() == [[4.0] * 3]


def test_operations_of_ones_own(models: Any, tmp_path: Path) -> None:
    models.dense()
    with pytest.raises(ConfigError, match=r"CPU_EXTENSION_PATH.*'ops\.so'.*neither in .*m/1' nor in .*m'"):
        load_with(models, CPU_EXTENSION_PATH="ops.so")
    library = models.root / "m" / "ops.so"
    library.write_bytes(b"no library")
    with pytest.raises(ConfigError, match=rf"failed to load model 'm' from '{library}': .*built for OpenVINO"):
        load_with(models, CPU_EXTENSION_PATH="ops.so")


# ---- batches and shapes


def test_a_batch_fixed_at_one_becomes_one_of_any_size(models: Any) -> None:
    models.dense((1, 4))
    assert shapes(models.backend.signature(models.source(max_batch_size=8))) == [(-1, 4), (-1, 3)]
    assert shapes(models.backend.signature(models.source())) == [(1, 4), (1, 3)]
    left = models.source(max_batch_size=8, parameters={"SKIP_OV_DYNAMIC_BATCHSIZE": "YES"})
    assert shapes(models.backend.signature(left)) == [(1, 4), (1, 3)]
    instance = models.instance(models.source(max_batch_size=8))
    for rows in (1, 5, 2):
        assert instance.execute({"X": np.ones((rows, 4), np.float32)}, ["Y"])["Y"].tolist() == [[4.0] * 3] * rows


@pytest.mark.parametrize("target", [[1, 2, 2], [4]])
def test_a_model_that_says_one_inside_keeps_its_batch(models: Any, target: list[int]) -> None:
    x = models.parameter((1, 4))
    models.write([models.named(op.reshape(x, op.constant(np.array(target)), False), "Y")], [x])
    source = models.source(max_batch_size=8)
    assert shapes(models.backend.signature(source)) == [(1, 4), tuple(target)]


def test_inputs_of_the_configured_dims(models: Any, fp32_input: Any) -> None:
    x = models.parameter((-1, -1))
    models.write([models.named(op.relu(x), "Y")], [x])
    parameters = {"RESHAPE_IO_LAYERS": "YES"}
    batched = models.source(parameters=parameters, max_batch_size=4, input=(fp32_input("X", 6),))
    assert shapes(models.backend.signature(batched)) == [(-1, 6), (-1, 6)]
    whole = models.source(parameters=parameters, input=(fp32_input("X", 2, 6),))
    assert shapes(models.backend.signature(whole)) == [(2, 6), (2, 6)]
    found = models.instance(whole).execute({"X": np.ones((2, 6), np.float32)}, ["Y"])["Y"]
    assert found.tolist() == [[1.0] * 6] * 2


def test_dims_that_the_model_cannot_have(models: Any, fp32_input: Any) -> None:
    path = models.dense()
    source = models.source(parameters={"RESHAPE_IO_LAYERS": "YES"}, max_batch_size=4, input=(fp32_input("X", 5),))
    with pytest.raises(ConfigError, match=rf"'{path}': it cannot take inputs of shape \[-1, 5\]: .*RESHAPE_IO_LAYERS"):
        models.backend.signature(source)


def test_padding_needs_batches(models: Any) -> None:
    models.dense()
    with pytest.raises(ConfigError, match=r"ENABLE_BATCH_PADDING.*max_batch_size is 0"):
        models.backend.signature(models.source(parameters={"ENABLE_BATCH_PADDING": "YES"}))
    x = models.parameter((-1, 4))
    models.write([models.named(op.reduce_sum(x, op.constant([0]), False), "Y")], [x])
    source = models.source(parameters={"ENABLE_BATCH_PADDING": "YES"}, max_batch_size=3)
    with pytest.raises(ConfigError, match=r"with batches of 3, one of its outputs is of shape \[4\]"):
        models.backend.signature(source)


# ---- names and types


def test_a_tensor_with_several_names_answers_to_each(models: Any, fp32_input: Any) -> None:
    x = models.parameter((-1, 4), name="X")
    x.output(0).set_names({"b:0", "X", "a"})
    y = op.relu(x, name="relu")
    y.output(0).set_names({"second", "first"})
    models.write([y], [x])
    signature = models.backend.signature(models.source())
    assert [one.name for one in (*signature.inputs, *signature.outputs)] == ["X", "first"]
    for given, taken in (("b:0", "second"), ("a", "relu")):
        output = ModelOutput(name=taken, data_type=DataType.FP32, dims=(-1, 4))
        source = models.source(input=(fp32_input(given, -1, 4),), output=(output,))
        signature = models.backend.signature(source)
        assert [one.name for one in (*signature.inputs, *signature.outputs)] == [given, taken]
        assert models.instance(source).execute({given: -np.ones((1, 4), np.float32)}, [taken])[taken].sum() == 0


def test_tensors_without_names_of_their_own(models: Any) -> None:
    x = op.parameter([-1, 4], ov.Type.f32, name="entry")
    halves = op.split(x, op.constant(np.int64(1)), 2, name="halves")
    models.write(list(halves.outputs()), [x])
    signature = models.backend.signature(models.source())
    names = [one.name for one in signature.outputs]
    assert [one.name for one in signature.inputs] == ["entry"]
    assert len(set(names)) == 2
    found = models.instance().execute({"entry": np.array([[1, 2, 3, 4]], np.float32)}, names)
    assert [found[one].tolist() for one in names] == [[[1, 2]], [[3, 4]]]


def test_a_shape_of_any_rank_is_not_said(models: Any) -> None:
    x = op.parameter(ov.PartialShape.dynamic(), ov.Type.f32, name="X")
    models.write([models.named(op.relu(models.named(x, "X")), "Y")], [x])
    assert shapes(models.backend.signature(models.source())) == [None, None]


@pytest.mark.parametrize("kind", ["u4", "i4", "f8e4m3"])
def test_types_that_the_protocol_does_not_have(models: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    x, z = models.parameter((-1, 4), kind), models.parameter((-1, 4), "f32", "Z")
    path = models.write([x], [x])
    with pytest.raises(ConfigError, match=rf"input 'X' of '{path}' is of type {kind}"):
        models.backend.signature(models.source())
    converted = models.named(op.convert(z, kind), "Q")
    models.write([models.named(op.relu(z), "Y"), converted], [z])
    assert [one.name for one in models.backend.signature(models.source()).outputs] == ["Y"]
    assert f"output 'Q' of '{path}' is of type {kind}" in caplog.text
    models.write([models.named(op.convert(z, kind), "Q")], [z])
    with pytest.raises(ConfigError, match="no output of"):
        models.backend.signature(models.source())


def test_close_ends_the_threads_of_streams(models: Any) -> None:
    models.dense()
    model = load_with(models, NUM_STREAMS="2")  # OpenVINO's pool of threads stays for the next model
    model.close()
    before = threads()
    for _ in range(5):
        model = load_with(models, NUM_STREAMS="2")
        model.close()
    deadline = time.monotonic() + 30
    while threads() > before and time.monotonic() < deadline:  # one that was joined is listed a moment longer
        time.sleep(0.01)
    assert threads() <= before


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))
