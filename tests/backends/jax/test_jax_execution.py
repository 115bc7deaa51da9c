"""Batches through XLA: names, shapes that are compiled, whose memory is whose, and what happens to other shapes."""

import gc
from typing import Any

import numpy as np
import pytest
from tests.backends.resident_memory import assert_nothing_stays
from tests.side_by_side import side_by_side

from atoll.backends.api import Placement
from atoll.errors import InternalError, InvalidArgumentError


def test_names_and_shapes_come_from_the_function(models: Any) -> None:
    x, scale, bias = models.specs("b, 4", "b", "b, 4")

    def function(x: Any, *, scale: Any) -> Any:
        return {"y": x * scale["by"][:, None], "parts": (x + scale["bias"],)}

    found = models.backend.signature(models.write(function, x, scale={"by": scale, "bias": bias}))
    assert [(one.name, one.shape) for one in found.inputs] == [
        ("INPUT__0", (-1, 4)),
        ("scale.bias", (-1, 4)),
        ("scale.by", (-1,)),
    ]
    assert [(one.name, one.shape) for one in found.outputs] == [("parts.0", (-1, 4)), ("y", (-1, 4))]
    assert found.batching is True


def test_each_input_goes_where_its_name_says(models: Any) -> None:
    x, low, high = models.specs("b, 2", "b, 2", "b, 2")
    source = models.write(lambda x, *, low, high: {"OUT": x + 10 * low + 100 * high}, x, high=high, low=low)
    instance = models.instance(models.configured(source, max_batch_size=4))
    one = np.ones((1, 2), np.float32)
    out = instance.execute({"high": 3 * one, "INPUT__0": one, "low": 2 * one}, ["OUT"])["OUT"]
    assert out.tolist() == [[321.0, 321.0]]


def test_the_first_dimension_is_the_batch_only_where_all_share_it(models: Any) -> None:
    a, b = models.specs("b, 4", "c, 4")
    import jax.numpy as jnp

    assert models.backend.signature(models.write(lambda a, b: jnp.concatenate([a, b]), a, b)).batching is False
    (twice,) = models.specs("2*b, 4")
    assert models.backend.signature(models.write(lambda x: x, twice)).batching is False
    assert models.backend.signature(models.write(lambda x: x, models.spec("3, 4"))).supports_batching() is False


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 6])
def test_a_batch_is_filled_up_to_a_compiled_size_and_cut_again(models: Any, rows: int) -> None:
    source = models.write(lambda x: {"OUT": x * 2, "SUMS": x.sum(axis=1)}, models.spec("b, 3"))
    instance = models.instance(models.configured(source, max_batch_size=6))
    sent = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
    out = instance.execute({"INPUT__0": sent}, ["OUT", "SUMS"])
    np.testing.assert_array_equal(out["OUT"], sent * 2)
    np.testing.assert_array_equal(out["SUMS"], sent.sum(axis=1))


def test_what_it_is_filled_up_with_counts_for_nothing_in_a_sum(models: Any) -> None:
    source = models.write(lambda x: x + x.sum(axis=0), models.spec("b, 3"))
    instance = models.instance(models.configured(source, {"batch_sizes": "64"}, max_batch_size=64))
    for rows in (64, 3):  # the second time where memory was in use
        sent = np.full((rows, 3), 7, np.float32)
        out = instance.execute({"INPUT__0": sent}, ["OUTPUT__0"])["OUTPUT__0"]
        np.testing.assert_array_equal(out, sent + 7 * rows)


def test_nothing_is_compiled_while_requests_wait(models: Any) -> None:
    source = models.configured(models.write(lambda x: x, models.spec("b, 3")), max_batch_size=6)
    model = models.backend.load(source)
    instance = model.instance(Placement("m_0"))
    assert model.bounded
    (programs,) = model._devices.values()
    assert sorted(shapes[0][0] for shapes in programs._kept) == [1, 2, 4, 6]
    for rows in range(7):
        instance.execute({"INPUT__0": np.zeros((rows, 3), np.float32)}, ["OUTPUT__0"])
    assert len(programs) == 4


def test_sizes_of_the_operators_choice(models: Any) -> None:
    source = models.write(lambda x: x, models.spec("b, 3"))
    model = models.backend.load(models.configured(source, {"batch_sizes": "3"}, max_batch_size=8))
    model.instance(Placement("m_0"))
    (programs,) = model._devices.values()
    assert sorted(shapes[0][0] for shapes in programs._kept) == [3, 8]


@pytest.mark.parametrize("parameters", [{"batch_sizes": "any"}, {"compile_at_load": "false"}])
def test_what_compiles_on_demand_may_not_hold_up_an_event_loop(models: Any, parameters: dict[str, str]) -> None:
    source = models.write(lambda x: x, models.spec("b, 3"))
    model = models.backend.load(models.configured(source, parameters, max_batch_size=8))
    assert not model.bounded
    sent = np.ones((3, 3), np.float32)
    out = model.instance(Placement("m_0")).execute({"INPUT__0": sent}, ["OUTPUT__0"])
    np.testing.assert_array_equal(out["OUTPUT__0"], sent)


def test_the_programs_kept_are_bounded(models: Any) -> None:
    source = models.write(lambda x: x, models.spec("n, m"))
    model = models.backend.load(models.configured(source, {"max_compiled_shapes": "2"}))
    instance = model.instance(Placement("m_0"))
    for rows in (1, 2, 1, 3):
        sent = np.full((rows, 2), rows, np.float32)
        np.testing.assert_array_equal(instance.execute({"INPUT__0": sent}, ["OUTPUT__0"])["OUTPUT__0"], sent)
    (programs,) = model._devices.values()
    assert len(programs) == 2
    assert sorted(shapes[0][0] for shapes in programs._recent) == [1, 3]  # those used last


def test_shapes_that_disagree_are_the_requests_fault(models: Any) -> None:
    a, b = models.specs("n", "n")
    instance = models.instance(models.configured(models.write(lambda a, b: a + b, a, b)))
    three, two = np.ones(3, np.float32), np.ones(2, np.float32)
    with pytest.raises(InvalidArgumentError, match="unexpected shapes of inputs"):
        instance.execute({"INPUT__0": three, "INPUT__1": two}, ["OUTPUT__0"])
    assert instance.execute({"INPUT__0": two, "INPUT__1": two}, ["OUTPUT__0"])["OUTPUT__0"].tolist() == [2, 2]


def test_a_missing_input_is_named(models: Any) -> None:
    instance = models.instance(models.configured(models.write(lambda x: x, models.spec("4"))))
    with pytest.raises(InvalidArgumentError, match="input 'INPUT__0' is missing"):
        instance.execute({}, ["OUTPUT__0"])


def test_a_failing_run_is_an_internal_error_of_bounded_length(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = models.configured(models.write(lambda x: x, models.spec("4")))
    model = models.backend.load(source)
    instance = model.instance(Placement("m_0"))
    (programs,) = model._devices.values()

    def fail(*_: Any) -> None:
        raise RuntimeError("x" * 100_000)

    monkeypatch.setitem(programs._kept, ((4,),), fail)
    with pytest.raises(InternalError, match="jax error: xxx") as failure:
        instance.execute({"INPUT__0": np.ones(4, np.float32)}, ["OUTPUT__0"])
    assert len(str(failure.value)) < 3000


def test_64_bit_numbers_stay_such_and_the_process_keeps_its_setting(models: Any) -> None:
    import jax
    import jax.numpy as jnp

    source = models.write(lambda x: {"OUT": x + 1}, models.spec("b", "int64"))
    instance = models.instance(models.configured(source, max_batch_size=2))
    sent = np.array([2**62, -(2**62)])
    np.testing.assert_array_equal(instance.execute({"INPUT__0": sent}, ["OUT"])["OUT"], sent + 1)
    assert jnp.asarray(np.ones(1)).dtype == np.float32
    assert not jax.config.jax_enable_x64


def test_a_request_buffer_is_neither_written_to_nor_returned(models: Any) -> None:
    instance = models.instance(models.configured(models.write(lambda x: x, models.spec("b, 16")), max_batch_size=4))
    memory = np.zeros(4 * 16 * 4 + 64, np.uint8)
    start = -memory.ctypes.data % 64  # where XLA reads without a copy
    sent = memory[start : start + 256].view(np.float32).reshape(4, 16)
    sent[:] = 1
    sent.flags.writeable = False
    out = instance.execute({"INPUT__0": sent}, ["OUTPUT__0"])["OUTPUT__0"]
    assert not np.shares_memory(out, memory)
    memory[:] = 0  # as the engine may from now on
    assert (out == 1).all()


def test_an_output_outlives_later_runs_and_the_model(models: Any) -> None:
    model = models.backend.load(models.configured(models.write(lambda x: x * 1, models.spec("b, 2")), max_batch_size=4))
    instance = model.instance(Placement("m_0"))
    kept = instance.execute({"INPUT__0": np.full((3, 2), 7, np.float32)}, ["OUTPUT__0"])["OUTPUT__0"]
    for number in range(20):
        instance.execute({"INPUT__0": np.full((3, 2), number, np.float32)}, ["OUTPUT__0"])
    instance.close()
    model.close()
    del instance, model
    gc.collect()
    assert (kept == 7).all()


def test_instances_share_programs_and_run_side_by_side(models: Any) -> None:
    source = models.configured(models.write(lambda x: x @ x.T, models.spec("b, 64")), {"batch_sizes": "any"}, 8)
    model = models.backend.load(source)
    instances = [model.instance(Placement(f"m_{number}")) for number in range(4)]
    assert len(model._devices) == 1

    def drive(number: int) -> None:
        sent = np.full((number + 1, 64), number, np.float32)
        for _ in range(50):
            out = instances[number].execute({"INPUT__0": sent}, ["OUTPUT__0"])["OUTPUT__0"]
            assert (out == 64 * number * number).all()

    side_by_side(4, drive)


def test_unloading_frees_the_weights_and_leaves_other_models_compiled(models: Any) -> None:
    weights = np.random.default_rng(0).random((1200, 1200), np.float32)  # 6 MB
    content = bytes(models.exported(lambda x: x @ weights, models.spec("b, 1200")).serialize())
    other = models.instance(models.configured(models.write(lambda x: x, models.spec("b, 2")), max_batch_size=1))
    source = models.configured(models.file(content), max_batch_size=2)

    def cycle() -> None:
        model = models.backend.load(source)
        instance = model.instance(Placement("m_0"))
        instance.execute({"INPUT__0": np.ones((1, 1200), np.float32)}, ["OUTPUT__0"])
        instance.close()
        model.close()
        gc.collect()

    assert_nothing_stays(cycle, weights.nbytes)
    assert other.execute({"INPUT__0": np.ones((1, 2), np.float32)}, ["OUTPUT__0"])["OUTPUT__0"].tolist() == [[1, 1]]
