"""Batches through ONNX Runtime: every data type, no copies, and errors that leave the instance usable."""

import gc
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.side_by_side import side_by_side

from atoll.backends.api import Placement
from atoll.errors import ConfigError, InternalError, InvalidArgumentError
from atoll.tensor import BY_PROTOCOL_NAME, DataType

NUMBERS = [one for one in BY_PROTOCOL_NAME.values() if one not in (DataType.BYTES, DataType.BF16)]


def objects(*rows: list[bytes]) -> Any:
    array = np.empty((len(rows), len(rows[0])), np.object_)
    for index, row in enumerate(rows):
        array[index] = row
    return array


@pytest.mark.parametrize("datatype", NUMBERS, ids=lambda one: one.name)
def test_numbers_of_every_type_come_back_as_they_went(models: Any, datatype: DataType) -> None:
    instance = models.instance(models.identity(datatype.protocol_name))
    sent = np.array([[0, 1], [1, 0], [100, 7]]).astype(datatype.dtype)
    if datatype.dtype.kind in "iu":
        limits = np.iinfo(datatype.dtype)
        sent[0] = [limits.min, limits.max]
    out = instance.execute({"IN": sent}, ["OUT"])["OUT"]
    assert out.dtype == datatype.dtype
    np.testing.assert_array_equal(out, sent)


def test_bf16_keeps_every_bit(models: Any) -> None:
    sent = np.array([[0x3F80, 0x7FC1], [0xFF80, 0x0001]], np.uint16)  # 1.0, a NaN with a payload, -inf, a denormal
    out = models.instance(models.identity("BF16")).execute({"IN": sent}, ["OUT"])["OUT"]
    assert out.dtype == np.uint16
    np.testing.assert_array_equal(out, sent)


def test_a_bf16_output_outlives_the_instance_and_later_runs(models: Any) -> None:
    instance = models.instance(models.identity("BF16"))
    kept = instance.execute({"IN": np.full((1, 2), 0x3F80, np.uint16)}, ["OUT"])["OUT"]
    for _ in range(20):
        instance.execute({"IN": np.zeros((1, 2), np.uint16)}, ["OUT"])
    instance.close()
    del instance
    gc.collect()
    np.testing.assert_array_equal(kept, np.full((1, 2), 0x3F80, np.uint16))


def test_bf16_beside_other_types(models: Any) -> None:
    source = models.write(
        [
            helper.make_node("Cast", ["F"], ["BF"], to=TensorProto.BFLOAT16),
            helper.make_node("Cast", ["B"], ["FB"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["F"], ["SF"], to=TensorProto.STRING),
        ],
        [models.value("F", "FP32", ["n"]), models.value("B", "BF16", ["n"])],
        [models.value("BF", "BF16", ["n"]), models.value("FB", "FP32", ["n"]), models.value("SF", "BYTES", ["n"])],
    )
    instance = models.instance(source)
    sent = {"F": np.array([1, 2], np.float32), "B": np.array([0x4000, 0x4040], np.uint16)}
    out = instance.execute(sent, ["SF", "BF", "FB"])
    assert list(out) == ["SF", "BF", "FB"]
    assert out["BF"].tolist() == [0x3F80, 0x4000]
    assert out["FB"].tolist() == [2.0, 3.0]
    assert out["SF"].tolist() == [b"1", b"2"]
    assert instance.execute(sent, ["FB"])["FB"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("datatype", ["FP32", "BF16", "BYTES"])
def test_an_empty_batch(models: Any, datatype: str) -> None:
    sent = np.zeros((0, 2), BY_PROTOCOL_NAME[datatype].dtype)
    out = models.instance(models.identity(datatype)).execute({"IN": sent}, ["OUT"])["OUT"]
    assert out.shape == (0, 2)
    assert out.dtype == sent.dtype


@pytest.mark.parametrize("datatype", ["FP64", "BF16", "BYTES"])
def test_a_scalar(models: Any, datatype: str) -> None:
    sent = np.empty((), BY_PROTOCOL_NAME[datatype].dtype)
    sent[()] = b"one" if datatype == "BYTES" else 1
    out = models.instance(models.identity(datatype, [])).execute({"IN": sent}, ["OUT"])["OUT"]
    assert out.shape == ()
    assert out[()] == sent[()]


def test_bytes_are_utf8_text_to_the_model_and_bytes_again_outside(models: Any) -> None:
    sent = objects([b"", "Zoë 😀".encode()], [b"a\0b\0", b"x" * 100_000])
    out = models.instance(models.identity("BYTES")).execute({"IN": sent}, ["OUT"])["OUT"]
    assert out.tolist() == sent.tolist()


def test_bytes_that_are_not_utf8_are_refused_by_name(models: Any) -> None:
    instance = models.instance(models.identity("BYTES"))
    with pytest.raises(InvalidArgumentError, match="input 'IN' must be UTF-8"):
        instance.execute({"IN": objects([b"fine", b"\xff\xfe"])}, ["OUT"])
    assert instance.execute({"IN": objects([b"a", b"b"])}, ["OUT"])["OUT"].tolist() == [[b"a", b"b"]]


def test_read_only_inputs_are_read_and_left_alone(models: Any) -> None:
    for datatype in ("FP32", "BF16"):
        buffer = bytes(range(8)) * (2 if datatype == "FP32" else 1)
        sent = np.frombuffer(buffer, BY_PROTOCOL_NAME[datatype].dtype).reshape(-1, 2)
        out = models.instance(models.identity(datatype)).execute({"IN": sent}, ["OUT"])["OUT"]
        assert out.tobytes() == buffer
        assert not np.shares_memory(out, sent)


def test_only_the_outputs_asked_for_in_the_order_asked_for(models: Any) -> None:
    source = models.write(
        [helper.make_node("Add", ["A", "B"], ["SUM"]), helper.make_node("Sub", ["A", "B"], ["DIFFERENCE"])],
        [models.value("A", "INT32", ["n"]), models.value("B", "INT32", ["n"])],
        [models.value("SUM", "INT32", ["n"]), models.value("DIFFERENCE", "INT32", ["n"])],
    )
    instance = models.instance(source)
    sent = {"A": np.array([5], np.int32), "B": np.array([3], np.int32)}
    assert {name: out.tolist() for name, out in instance.execute(sent, ["DIFFERENCE"]).items()} == {"DIFFERENCE": [2]}
    assert list(instance.execute(sent, ("DIFFERENCE", "SUM"))) == ["DIFFERENCE", "SUM"]


def test_an_optional_input_may_be_left_out(models: Any) -> None:
    optional = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"]))
    source = models.write(
        [helper.make_node("OptionalHasElement", ["MAYBE"], ["GIVEN"])],
        [helper.make_value_info("MAYBE", optional)],
        [models.value("GIVEN", "BOOL", [])],
        opset=18,
    )
    instance = models.instance(source)
    assert not instance.execute({}, ["GIVEN"])["GIVEN"]
    assert instance.execute({"MAYBE": np.ones(1, np.float32)}, ["GIVEN"])["GIVEN"]


def test_a_failing_run_says_why_prints_nothing_and_leaves_the_instance_usable(models: Any, capfd: Any) -> None:
    source = models.write(
        [helper.make_node("Gather", ["TABLE", "INDEX"], ["OUT"])],
        [models.value("TABLE", "FP32", ["n"]), models.value("INDEX", "INT64", ["k"])],
        [models.value("OUT", "FP32", ["k"])],
    )
    instance = models.instance(source)
    table = np.array([1, 2], np.float32)
    capfd.readouterr()
    with pytest.raises(InternalError, match=r"^onnx runtime error \d+: .*Gather"):
        instance.execute({"TABLE": table, "INDEX": np.array([9])}, ["OUT"])
    assert capfd.readouterr() == ("", "")
    assert instance.execute({"TABLE": table, "INDEX": np.array([1])}, ["OUT"])["OUT"].tolist() == [2.0]


def test_a_wrong_shape_is_an_internal_error_in_the_real_servers_words(models: Any) -> None:
    instance = models.instance(models.identity("FP32"))
    with pytest.raises(InternalError, match=r"^onnx runtime error 2: Got invalid dimensions for input: IN"):
        instance.execute({"IN": np.zeros((1, 3), np.float32)}, ["OUT"])


def test_strings_into_bf16_are_refused_when_the_model_is_loaded(models: Any) -> None:
    source = models.write(
        [helper.make_node("Cast", ["S"], ["B"], to=TensorProto.BFLOAT16)],
        [models.value("S", "BYTES", ["n"])],
        [models.value("B", "BF16", ["n"])],
    )
    with pytest.raises(ConfigError, match=r"'S' is of strings.*'B' is BF16"):
        models.backend.load(source)


def test_a_failing_bf16_run_is_an_internal_error_too(models: Any) -> None:
    instance = models.instance(models.identity("BF16"))
    with pytest.raises(InternalError, match=r"^onnx runtime error 1: .*Got invalid dimensions for input: IN"):
        instance.execute({"IN": np.zeros((1, 3), np.uint16)}, ["OUT"])


def test_an_output_can_be_kept_without_a_copy(models: Any) -> None:
    instance = models.instance(models.identity("FP32"))
    first = instance.execute({"IN": np.full((1, 2), 1, np.float32)}, ["OUT"])["OUT"]
    for number in range(2, 20):
        instance.execute({"IN": np.full((1, 2), number, np.float32)}, ["OUT"])
    assert first.tolist() == [[1.0, 1.0]]


def test_instances_of_a_model_run_side_by_side(models: Any) -> None:
    model = models.backend.load(models.identity("INT64"))
    instances = [model.instance(Placement(name=f"m_{number}")) for number in range(4)]

    def drive(number: int) -> None:
        sent = np.full((3, 2), number)
        for _ in range(200):
            np.testing.assert_array_equal(instances[number].execute({"IN": sent}, ["OUT"])["OUT"], sent)

    side_by_side(4, drive)
    for one in instances:
        one.close()
    model.close()


def test_closing_an_instance_leaves_the_others(models: Any) -> None:
    model = models.backend.load(models.identity("FP32"))
    first, second = (model.instance(Placement(name=name)) for name in ("a", "b"))
    first.close()
    assert second.execute({"IN": np.ones((1, 2), np.float32)}, ["OUT"])["OUT"].tolist() == [[1.0, 1.0]]


def test_a_gpu_is_refused_with_what_to_write_instead(models: Any) -> None:
    model = models.backend.load(models.identity("FP32"))
    with pytest.raises(ConfigError, match=r"instance 'm_0'.*kind: KIND_CPU"):
        model.instance(Placement(name="m_0", kind="KIND_GPU"))
