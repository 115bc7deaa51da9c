"""Batches through OpenVINO: whose memory it is, what is remembered, filled up and refused."""

from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op
from tests.side_by_side import side_by_side

from atoll.backends.api import Placement
from atoll.backends.openvino.instance import SMALL_OUTPUT
from atoll.errors import ConfigError, InternalError, InvalidArgumentError

LARGE = SMALL_OUTPUT // 4  # numbers in a row, so that two rows are more than is copied


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("shape", [(-1, LARGE), (2, LARGE)], ids=["any batch", "fixed shapes"])
def test_large_outputs_are_given_away(models: Any, shape: tuple[int, ...]) -> None:
    x = models.parameter(shape)
    models.write([models.named(op.relu(x), "Y"), models.named(op.negative(x), "Z")], [x])
    instance = models.instance()
    kept = []
    for number in range(5):
        rows = 2 if shape[0] == 2 else 2 + number
        sent = read_only(np.full((rows, LARGE), number - 2, np.float32))
        kept.append((sent, instance.execute({"X": sent}, ["Y", "Z"])))
    instance.close()
    for sent, found in kept:
        np.testing.assert_array_equal(found["Y"], np.maximum(sent, 0))
        np.testing.assert_array_equal(found["Z"], -sent)


def test_large_outputs_that_are_asked_for_now_and_then(models: Any) -> None:
    x = models.parameter((-1, LARGE))
    models.write([models.named(op.relu(x), "Y"), models.named(op.negative(x), "Z")], [x])
    instance = models.instance()
    kept = []
    for number, names in enumerate([["Y"], ["Z"], ["Y", "Z"], ["Z"], ["Y"]]):
        found = instance.execute({"X": np.full((2, LARGE), number, np.float32)}, names)
        assert list(found) == names
        kept.append(found)
    for number, found in enumerate(kept):
        for name, array in found.items():
            assert (array == (number if name == "Y" else -number)).all()


@pytest.mark.parametrize("columns", [4, 2 * LARGE])
def test_an_output_that_is_the_input_is_no_memory_of_the_clients(models: Any, columns: int) -> None:
    x = models.parameter((-1, columns))
    models.write([x], [x])
    source = models.source()
    names = [one.name for one in models.backend.signature(source).outputs]
    instance = models.instance(source)
    for number in range(3):
        sent = np.full((2, columns), number, np.float32)
        found = instance.execute({"X": read_only(sent)}, names)[names[0]]
        assert not np.shares_memory(found, sent)
        np.testing.assert_array_equal(found, sent)


@pytest.mark.parametrize("count", [4, 2 * LARGE])
def test_an_output_that_is_a_weight_outlives_the_model(models: Any, count: int) -> None:
    x = models.parameter((-1, 4))
    weight = op.constant(np.arange(count, dtype=np.float32))
    models.write([models.named(weight, "W"), models.named(op.relu(x), "Y")], [x])
    model = models.backend.load(models.source())
    instance = model.instance(Placement(name="m_0"))
    kept = [instance.execute({"X": np.ones((1, 4), np.float32)}, ["W"])["W"] for _ in range(2)]
    instance.close()
    model.close()
    for one in kept:
        np.testing.assert_array_equal(one, np.arange(count, dtype=np.float32))


def test_instances_execute_at_once_and_mix_nothing_up(models: Any) -> None:
    models.dense()
    model = models.backend.load(models.source())

    def drive(number: int) -> None:
        instance = model.instance(Placement(name=f"m_{number}"))
        for turn in range(200):
            rows = 1 + (turn + number) % 7
            found = instance.execute({"X": np.full((rows, 4), number, np.float32)}, ["Y"])["Y"]
            assert found.tolist() == [[4 * number] * 3] * rows

    side_by_side(4, drive)


def test_what_a_model_remembers_is_forgotten_after_each_batch(models: Any) -> None:
    x = models.parameter((1, 4))
    info = ov.op.util.VariableInfo()
    info.data_shape, info.data_type, info.variable_id = ov.PartialShape([1, 4]), ov.Type.f32, "sum"
    variable = ov.op.util.Variable(info)
    total = op.add(op.read_value(op.constant(np.zeros((1, 4), np.float32)), variable), x)
    path = models.root / "m" / "1" / "model.xml"
    path.parent.mkdir(parents=True)
    ov.save_model(ov.Model([op.result(models.named(total, "Y"))], [op.assign(total, variable)], [x], "m"), path)
    instance = models.instance()
    for _ in range(3):
        assert instance.execute({"X": np.ones((1, 4), np.float32)}, ["Y"])["Y"].tolist() == [[1, 1, 1, 1]]


def test_a_run_that_fails_says_why_and_harms_no_other(models: Any) -> None:
    x, shape = models.parameter((-1, -1)), models.parameter((2,), "i64", "SHAPE")
    models.write([models.named(op.reshape(x, shape, False), "Y")], [x, shape])
    instance = models.instance()
    sent = np.arange(8, dtype=np.float32).reshape(2, 4)
    for _ in range(2):
        with pytest.raises(InternalError, match=r"^openvino error: .*reshape") as failure:
            instance.execute({"X": sent, "SHAPE": np.array([3, 3])}, ["Y"])
        assert "\n" not in str(failure.value)
        found = instance.execute({"X": sent, "SHAPE": np.array([4, 2])}, ["Y"])["Y"]
        np.testing.assert_array_equal(found, sent.reshape(4, 2))


def test_a_missing_input_is_not_taken_from_the_last_request(models: Any) -> None:
    a, b = models.parameter((-1, 4), name="A"), models.parameter((-1, 4), name="B")
    models.write([models.named(op.add(a, b), "Y")], [a, b])
    instance = models.instance()
    ones = np.ones((1, 4), np.float32)
    instance.execute({"A": ones, "B": ones}, ["Y"])
    with pytest.raises(InvalidArgumentError, match="input B is missing"):
        instance.execute({"A": ones}, ["Y"])


def test_a_dimension_that_is_too_large_for_the_model(models: Any) -> None:
    x = op.parameter(ov.PartialShape([ov.Dimension(), ov.Dimension(1, 8)]), ov.Type.f32, name="X")
    models.write([models.named(op.relu(models.named(x, "X")), "Y")], [x])
    instance = models.instance()
    with pytest.raises(InvalidArgumentError, match=r"input 'X': .*\[\?,1\.\.8\]"):
        instance.execute({"X": np.ones((1, 9), np.float32)}, ["Y"])
    assert instance.execute({"X": np.ones((1, 8), np.float32)}, ["Y"])["Y"].shape == (1, 8)


def test_batches_are_filled_up(models: Any) -> None:
    models.dense((-1, 4))
    source = models.source(parameters={"ENABLE_BATCH_PADDING": "YES"}, max_batch_size=4)
    assert [one.shape for one in models.backend.signature(source).inputs] == [(-1, 4)]
    instance = models.instance(source)
    kept = []
    for rows in (4, 1, 3, 2):
        found = instance.execute({"X": read_only(np.full((rows, 4), rows, np.float32))}, ["Y"])["Y"]
        kept.append(found)
    assert [one.tolist() for one in kept] == [[[4.0 * rows] * 3] * rows for rows in (4, 1, 3, 2)]


def test_a_batch_of_strings_is_filled_up(models: Any) -> None:
    x = models.parameter((-1, 2), "string")
    models.write([x], [x])
    source = models.source(parameters={"ENABLE_BATCH_PADDING": "YES"}, max_batch_size=3)
    name = models.backend.signature(source).outputs[0].name
    sent = np.array([[b"a", b""]], object)
    assert models.instance(source).execute({"X": sent}, [name])[name].tolist() == sent.tolist()


def test_nvidias_gpus_are_not_for_it(models: Any) -> None:
    models.dense()
    model = models.backend.load(models.source())
    with pytest.raises(ConfigError, match=r"KIND_GPU.*TARGET_DEVICE"):
        model.instance(Placement(name="m_0", kind="KIND_GPU"))


def test_not_a_number_and_infinities_go_through_operations(models: Any) -> None:
    x = models.parameter((-1, 4))
    models.write([models.named(op.add(op.relu(x), x), "Y")], [x])
    sent = np.array([[np.nan, np.inf, -np.inf, 1]], np.float32)
    found = models.instance(models.source(parameters={"INFERENCE_PRECISION_HINT": "f32"})).execute({"X": sent}, ["Y"])
    assert np.isnan(found["Y"][0, 0])
    assert found["Y"][0, 1:].tolist() == [np.inf, -np.inf, 2]


@pytest.mark.parametrize("shape", [(-1, LARGE), (2, LARGE)], ids=["any batch", "fixed shapes"])
def test_two_outputs_of_one_node_of_which_one_is_asked_for(models: Any, shape: tuple[int, ...]) -> None:
    x = models.parameter(shape)
    y = models.named(op.relu(x), "Y")
    flat = models.named(op.reshape(y, op.constant([-1]), False), "Z")  # a view of the same memory, if it can be
    models.write([y, y, flat], [x])
    source = models.source()
    names = [one.name for one in models.backend.signature(source).outputs]
    assert len(set(names)) == 3
    instance = models.instance(source)
    kept = []
    for number in range(6):
        sent = np.full((2, LARGE), number, np.float32)
        wanted = [names[number % 3]] if number < 3 else names
        kept.append((number, instance.execute({"X": sent}, wanted)))
    for number, found in kept:
        for array in found.values():
            assert (array == number).all()
