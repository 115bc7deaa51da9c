"""What ONNX files say of their tensors, and what is said of files that cannot be read."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from atoll.config.autofill import TensorSignature
from atoll.errors import ConfigError
from atoll.tensor import BY_PROTOCOL_NAME, DataType

HAS_GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.mark.parametrize("name", BY_PROTOCOL_NAME)
def test_every_type(models: Any, name: str) -> None:
    found = models.backend.signature(models.identity(name))
    datatype = BY_PROTOCOL_NAME[name]
    assert found.inputs == (TensorSignature(name="IN", data_type=datatype, shape=(-1, 2)),)
    assert found.outputs == (TensorSignature(name="OUT", data_type=datatype, shape=(-1, 2)),)


@pytest.mark.parametrize(
    ("declared", "shape"),
    [(["n", None, 3], (-1, -1, 3)), ([2, 3], (2, 3)), ([], ()), (["n", 0], (-1, 0))],
)
def test_shapes(models: Any, declared: Any, shape: tuple[int, ...]) -> None:
    assert models.backend.signature(models.identity("FP32", declared)).inputs[0].shape == shape


@pytest.mark.parametrize(("declared", "batching"), [(["n", 2], True), (["n"], True), ([1, 2], False), ([], False)])
def test_a_model_batches_if_all_first_dimensions_are_open(models: Any, declared: Any, batching: bool) -> None:
    assert models.backend.signature(models.identity("FP32", declared)).supports_batching() is batching


def test_one_tensor_without_a_batch_dimension_forbids_batching(models: Any) -> None:
    source = models.write(
        [helper.make_node("Add", ["A", "B"], ["SUM"])],
        [models.value("A", "FP32", ["n", 2]), models.value("B", "FP32", [2])],
        [models.value("SUM", "FP32", ["n", 2])],
    )
    assert models.backend.signature(source).supports_batching() is False


@pytest.mark.parametrize("ir_version", [3, 8])
def test_initializers_among_the_inputs_are_not_asked_of_clients(models: Any, ir_version: int) -> None:
    source = models.write(
        [helper.make_node("Add", ["X", "W"], ["Y"])],
        [models.value("X", "FP32", ["n", 2]), models.value("W", "FP32", [2])],
        [models.value("Y", "FP32", ["n", 2])],
        [numpy_helper.from_array(np.ones(2, np.float32), "W")],
        ir_version=ir_version,
    )
    assert [one.name for one in models.backend.signature(source).inputs] == ["X"]


def test_optional_inputs(models: Any) -> None:
    optional = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"]))
    source = models.write(
        [helper.make_node("OptionalHasElement", ["MAYBE"], ["GIVEN"])],
        [helper.make_value_info("MAYBE", optional)],
        [models.value("GIVEN", "BOOL", [])],
        opset=18,
    )
    (found,) = models.backend.signature(source).inputs
    assert found == TensorSignature(name="MAYBE", data_type=DataType.FP32, shape=(-1,), optional=True)


def test_shapes_of_outputs_are_inferred_where_the_file_leaves_them_out(models: Any) -> None:
    source = models.write(
        [helper.make_node("Flatten", ["IN"], ["OUT"])],
        [models.value("IN", "FP32", ["n", 2, 3])],
        [models.value("OUT", "FP32", None)],
    )
    assert models.backend.signature(source).outputs[0].shape == (-1, 6)


def test_outputs_that_are_no_tensors_are_left_out_with_a_warning(models: Any, caplog: Any) -> None:
    source = models.write(
        [helper.make_node("Identity", ["X"], ["Y"]), helper.make_node("SequenceConstruct", ["X"], ["LIST"])],
        [models.value("X", "FP32", ["n"])],
        [models.value("Y", "FP32", ["n"]), helper.make_tensor_sequence_value_info("LIST", TensorProto.FLOAT, None)],
    )
    assert [one.name for one in models.backend.signature(source).outputs] == ["Y"]
    assert "output 'LIST'" in caplog.text
    assert "seq(tensor(float))" in caplog.text


def test_a_model_without_any_tensor_to_return_is_refused(models: Any) -> None:
    source = models.write(
        [helper.make_node("SequenceConstruct", ["X"], ["LIST"])],
        [models.value("X", "FP32", ["n"])],
        [helper.make_tensor_sequence_value_info("LIST", TensorProto.FLOAT, None)],
    )
    with pytest.raises(ConfigError, match=r"no output of '.*model\.onnx'"):
        models.backend.signature(source)


def test_an_input_that_the_protocol_cannot_carry_is_refused(models: Any) -> None:
    source = models.write(
        [helper.make_node("Cast", ["X"], ["Y"], to=TensorProto.FLOAT)],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT8E4M3FN, ["n"])],
        [models.value("Y", "FP32", ["n"])],
        opset=19,
        ir_version=9,
    )
    with pytest.raises(ConfigError, match=r"input 'X'.*tensor\(float8e4m3fn\)"):
        models.backend.signature(source)


def test_external_data_in_a_directory_called_model_onnx(models: Any) -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["X", "W"], ["Y"])],
        "m",
        [models.value("X", "FP32", ["n", 1000])],
        [models.value("Y", "FP32", ["n", 1000])],
        [numpy_helper.from_array(np.arange(1000, dtype=np.float32), "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    source = models.source("m")
    directory = source.version_directory / "model.onnx"
    directory.mkdir()
    onnx.save(model, directory / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert models.backend.signature(source).inputs[0].shape == (-1, 1000)
    out = models.instance(source).execute({"X": np.ones((1, 1000), np.float32)}, ["Y"])["Y"]
    assert out[0, 999] == 1000.0


def test_default_model_filename(models: Any) -> None:
    models.identity("FP32")
    path = models.root / "m" / "1" / "model.onnx"
    path.rename(path.with_name("net.onnx"))
    source = models.source("m", default_model_filename="net.onnx")
    assert models.backend.signature(source).inputs[0].name == "IN"


def whole() -> bytes:
    constant = numpy_helper.from_array(np.zeros(1000, np.float32), "W")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1000]) for name in ("X", "Y")]
    graph = helper.make_graph([helper.make_node("Add", ["X", "W"], ["Y"])], "m", value[:1], value[1:], [constant])
    content: bytes = helper.make_model(graph).SerializeToString()
    return content


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "the file is empty"),
        (whole()[:2000], "not a whole ONNX model"),
        (b"hello world" * 100, "not a whole ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
        (b"PK\x03\x04" + bytes(100), "ZIP archive"),
    ],
    ids=["empty", "cut off", "text", "lfs pointer", "html", "zip"],
)
def test_a_broken_file_is_named_with_its_cause(models: Any, content: bytes, cause: str) -> None:
    source = models.file(content)
    for ask in (models.backend.signature, models.backend.load):
        with pytest.raises(ConfigError) as caught:
            ask(source)
        assert str(source.version_directory / "model.onnx") in str(caught.value)
        assert "onnx runtime error" in str(caught.value)
        assert cause in str(caught.value)


def test_a_graph_that_onnx_runtime_refuses_is_named_with_its_words(models: Any) -> None:
    source = models.write(
        [helper.make_node("NoSuchOperator", ["X"], ["Y"])],
        [models.value("X", "FP32", ["n"])],
        [models.value("Y", "FP32", ["n"])],
    )
    with pytest.raises(ConfigError, match=r"failed to load model 'm' from '.*model\.onnx': .*NoSuchOperator"):
        models.backend.load(source)


def test_a_missing_operator_says_where_it_may_come_from(models: Any) -> None:
    source = models.write(
        [helper.make_node("NoSuchOperator", ["X"], ["Y"])],
        [models.value("X", "FP32", ["n"])],
        [models.value("Y", "FP32", ["n"])],
    )
    for ask in (models.backend.signature, models.backend.load):
        with pytest.raises(ConfigError, match=r"NoSuchOperator.*op_library_filename.*older opset"):
            ask(source)


@pytest.mark.skipif(HAS_GPU, reason="this ONNX Runtime can use GPUs")
def test_an_operator_that_only_gpus_have_says_so(models: Any) -> None:
    node = helper.make_node(
        "PackedAttention",
        ["X", "W", "B", "T", "L"],
        ["Y"],
        domain="com.microsoft",
        num_heads=1,
        qkv_hidden_sizes=[2, 2, 2],
    )
    names = {"X": ("FP32", ["t", 2]), "W": ("FP32", [2, 6]), "B": ("FP32", [6])}
    names |= {"T": ("INT32", ["b", "s"]), "L": ("INT32", ["c"])}
    inputs = [models.value(name, *one) for name, one in names.items()]
    source = models.write([node], inputs, [models.value("Y", "FP32", ["t", 2])], domains=["com.microsoft"])
    for ask in (models.backend.signature, models.backend.load):
        with pytest.raises(ConfigError, match=r"implementation for PackedAttention.*KIND_GPU"):
            ask(source)


@pytest.mark.parametrize(
    ("opset", "ir_version", "limit"), [(99, 8, "till opset"), (17, 99, "max supported IR version")]
)
def test_a_model_that_is_too_new_says_so(models: Any, opset: int, ir_version: int, limit: str) -> None:
    values = [models.value(name, "FP32", ["n"]) for name in ("X", "Y")]
    nodes = [helper.make_node("Add", ["X", "X"], ["Y"])]
    source = models.write(nodes, values[:1], values[1:], opset=opset, ir_version=ir_version)
    for ask in (models.backend.signature, models.backend.load):
        with pytest.raises(ConfigError, match=rf"model\.onnx'.*{limit}.*newer than the installed ONNX Runtime"):
            ask(source)


def test_a_missing_file_is_named(models: Any) -> None:
    source = models.source("m")
    with pytest.raises(ConfigError, match=r"unable to find '.*m/1/model\.onnx' for model 'm'; put"):
        models.backend.signature(source)


def test_a_file_of_another_name_is_told_of(models: Any) -> None:
    source = models.identity("FP32")
    (source.version_directory / "model.onnx").rename(source.version_directory / "resnet.onnx")
    with pytest.raises(ConfigError, match=r"found resnet\.onnx there: rename it to model\.onnx, or set default_model_"):
        models.backend.signature(source)


def test_missing_external_data_is_named(models: Any) -> None:
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    source = models.write(
        [helper.make_node("Add", ["X", "W"], ["Y"])],
        [models.value("X", "FP32", ["n", 2])],
        [models.value("Y", "FP32", ["n", 2])],
        [tensor],
    )
    with pytest.raises(ConfigError, match=r"weights\.bin"):
        models.backend.load(source)
