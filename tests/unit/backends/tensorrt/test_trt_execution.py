"""Batches through engines: the answers, what they need of CUDA, and that nothing stays behind.

CUDA and TensorRT are stand-ins (cuda_standin.py, tensorrt_standin.py): no GPU is here.
"""

import gc
from typing import Any

import numpy as np
import pytest
from tests.unit.backends.tensorrt.conftest import Engines

from atoll.backends.api import Placement
from atoll.errors import ConfigError, InternalError, InvalidArgumentError

DOUBLE: dict[str, Any] = {
    "operation": "double",
    "inputs": {"IN": ("FLOAT", [-1, -1])},
    "outputs": {"OUT": ("FLOAT", [-1, -1])},
    "profiles": [{"IN": [[1, 1], [4, 4], [8, 64]]}, {"IN": [[1, 1], [32, 4], [64, 64]]}],
}
BOTH = 'instance_group { name: "m_0" kind: KIND_GPU count: 1 gpus: [ 0 ] profile: [ "0", "1" ] }'


PLACEMENT = Placement("m_0_0_gpu0", "KIND_GPU", 0)


def numbers(*shape: int, dtype: Any = np.float32) -> Any:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def run(instance: Any, *outputs: str, **inputs: Any) -> Any:
    return instance.execute(inputs, list(outputs) or ["OUT"])


def test_batches_of_many_shapes_one_after_another(engines: Engines) -> None:
    instance = engines.instance(engines.write(**DOUBLE))
    for shape in [(1, 3), (8, 64), (2, 3), (2, 3), (8, 64), (1, 1)]:
        given = numbers(*shape)
        np.testing.assert_array_equal(run(instance, IN=given)["OUT"], given * 2)
    instance.close()


def test_an_answer_is_not_overwritten_by_the_next(engines: Engines) -> None:
    instance = engines.instance(engines.write(**DOUBLE))
    first = run(instance, IN=numbers(2, 3))["OUT"]
    run(instance, IN=numbers(2, 3) + 100)
    np.testing.assert_array_equal(first, numbers(2, 3) * 2)
    instance.close()
    np.testing.assert_array_equal(first, numbers(2, 3) * 2)


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_with_and_without_pinned_memory(engines: Engines, enabled: str) -> None:
    config = f"optimization {{ output_pinned_memory {{ enable: {enabled} }} }}"
    instance = engines.instance(engines.write(config, **DOUBLE))
    np.testing.assert_array_equal(run(instance, IN=numbers(2, 3))["OUT"], numbers(2, 3) * 2)
    assert bool(engines.cuda.pinned) == (enabled == "true")
    instance.close()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("FLOAT", np.float32),
        ("HALF", np.float16),
        ("INT8", np.int8),
        ("INT32", np.int32),
        ("INT64", np.int64),
        ("UINT8", np.uint8),
        ("BF16", np.uint16),
    ],
)
def test_every_type(engines: Engines, name: str, dtype: Any) -> None:
    content = {**DOUBLE, "inputs": {"IN": (name, [-1, -1])}, "outputs": {"OUT": (name, [-1, -1])}}
    instance = engines.instance(engines.write(**content))
    found = run(instance, IN=numbers(2, 3, dtype=dtype))["OUT"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, numbers(2, 3, dtype=dtype) * 2)
    instance.close()


def test_nan_infinity_and_no_elements(engines: Engines) -> None:
    content = {**DOUBLE, "profiles": [{"IN": [[0, 0], [4, 4], [8, 64]]}]}
    instance = engines.instance(engines.write(**content))
    odd = np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32)
    np.testing.assert_array_equal(run(instance, IN=odd)["OUT"], odd * 2)
    for shape in [(0, 4), (2, 0)]:
        assert run(instance, IN=numbers(*shape))["OUT"].shape == shape
    instance.close()


def test_several_tensors_and_only_those_asked_for(engines: Engines) -> None:
    shape = [-1, 2]
    source = engines.write(
        operation="add",
        inputs={"A": ("INT32", shape), "B": ("INT32", shape)},
        outputs={"SUM": ("INT32", shape), "DIFFERENCE": ("INT32", shape)},
        profiles=[{"A": [[1, 2], [2, 2], [4, 2]], "B": [[1, 2], [2, 2], [4, 2]]}],
    )
    instance = engines.instance(source)
    a, b = numbers(3, 2, dtype=np.int32), np.full((3, 2), 7, np.int32)
    found = run(instance, "DIFFERENCE", A=a, B=b)
    assert list(found) == ["DIFFERENCE"]
    np.testing.assert_array_equal(found["DIFFERENCE"], a - b)
    np.testing.assert_array_equal(run(instance, "SUM", A=a, B=b)["SUM"], a + b)
    instance.close()


def test_the_profile_that_fits_best(engines: Engines) -> None:
    instance = engines.instance(engines.write(BOTH, **DOUBLE))
    for rows in (1, 40, 8, 64):
        np.testing.assert_array_equal(run(instance, IN=numbers(rows, 4))["OUT"], numbers(rows, 4) * 2)
    with pytest.raises(InvalidArgumentError, match=r"between 1 and 8 but received 65"):
        run(instance, IN=numbers(65, 4))
    np.testing.assert_array_equal(run(instance, IN=numbers(3, 4))["OUT"], numbers(3, 4) * 2)
    instance.close()


POSITIVE: dict[str, Any] = {
    "operation": "positive",
    "inputs": {"IN": ("FLOAT", [-1])},
    "outputs": {"OUT": ("FLOAT", [-1])},
    "profiles": [{"IN": [[1], [4], [1000]]}],
}


def test_an_output_whose_size_the_data_decide(engines: Engines) -> None:
    instance = engines.instance(engines.write(**POSITIVE))
    for given in (numbers(5) - 2, numbers(900) - 2, numbers(5) - 200, numbers(5)):
        np.testing.assert_array_equal(run(instance, IN=given)["OUT"], given[given > 0])
    instance.close()


def test_an_output_for_which_there_is_no_memory(engines: Engines) -> None:
    instance = engines.instance(engines.write(**POSITIVE))
    assert len(run(instance, IN=numbers(1000) - 998)["OUT"]) == 1
    engines.cuda.free_bytes = 0
    with pytest.raises(InternalError, match=r"did not say the shape of output 'OUT': no memory for OUT"):
        run(instance, IN=numbers(1000) + 1)
    engines.cuda.free_bytes = 1 << 20
    assert len(run(instance, IN=numbers(1000) + 1)["OUT"]) == 1000
    instance.close()


EXPAND: dict[str, Any] = {
    "operation": "expand",
    "inputs": {"IN": ("FLOAT", [-1, 1]), "SHAPE": ("INT64", [2], {"shape_tensor": True})},
    "outputs": {"OUT": ("FLOAT", [-1, -1]), "WAS": ("INT64", [2], {"shape_tensor": True})},
    "profiles": [{"IN": [[1, 1], [1, 1], [8, 1]]}],
    "values": [{"SHAPE": [[-1, 1], [2, 2], [8, 8]]}],
}
DECLARED = (
    'input { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } '
    'input { name: "SHAPE" data_type: TYPE_INT64 dims: [ %d ] is_shape_tensor: true } '
    'output { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] } '
    'output { name: "WAS" data_type: TYPE_INT64 dims: [ 2 ] is_shape_tensor: true } '
)


def test_shape_tensors_in_and_out(engines: Engines) -> None:
    instance = engines.instance(engines.write(DECLARED % 2, **EXPAND))
    one = np.full((1, 1), 3, np.float32)
    for shape in [(2, 5), (4, 1), (2, 5)]:
        found = run(instance, "OUT", "WAS", IN=one, SHAPE=np.array(shape))
        np.testing.assert_array_equal(found["OUT"], np.full(shape, 3))
        np.testing.assert_array_equal(found["WAS"], shape)
    with pytest.raises(InvalidArgumentError, match=r"value 1 to be between 1 and 8 but received 9"):
        run(instance, IN=one, SHAPE=np.array([2, 9]))
    with pytest.raises(InvalidArgumentError, match=r"do not follow from these inputs: a dimension is negative"):
        run(instance, IN=one, SHAPE=np.array([-1, 2]))
    assert run(instance, IN=one, SHAPE=np.array([2, 2]))["OUT"].shape == (2, 2)
    instance.close()


def test_with_batches_their_size_goes_before_the_values(engines: Engines) -> None:
    instance = engines.instance(engines.write("max_batch_size: 8 " + DECLARED % 1, **EXPAND))
    found = run(instance, "OUT", IN=np.zeros((3, 1), np.float32), SHAPE=np.array([6]))
    assert found["OUT"].shape == (3, 6)
    instance.close()


def graphs(more: str = "") -> str:
    return f"max_batch_size: 8 optimization {{ cuda {{ graphs: true {more} }} }}"


def test_graphs_give_the_same_answers(engines: Engines) -> None:
    instance = engines.instance(engines.write(graphs(), **DOUBLE))
    assert len(engines.cuda.executables) == 6
    for rows, width, launches in [(4, 4, 1), (8, 4, 2), (5, 4, 2), (4, 3, 2), (1, 4, 3), (4, 4, 4)]:
        given = numbers(rows, width) + rows
        np.testing.assert_array_equal(run(instance, IN=given)["OUT"], given * 2)
        assert engines.cuda.calls.count("cuGraphLaunch") == launches
    instance.close()


def test_a_graph_whose_memory_has_moved_is_not_used(engines: Engines) -> None:
    instance = engines.instance(engines.write(graphs(), **DOUBLE))
    run(instance, IN=numbers(8, 64))  # larger than any graph: the memory grows
    np.testing.assert_array_equal(run(instance, IN=numbers(4, 4))["OUT"], numbers(4, 4) * 2)
    assert "cuGraphLaunch" not in engines.cuda.calls
    instance.close()


def test_a_smaller_batch_in_a_larger_graph(engines: Engines) -> None:
    spec = "graph_spec { batch_size: 8 graph_lower_bound { batch_size: 3 } }"
    instance = engines.instance(engines.write(graphs(spec), **DOUBLE))
    for rows, launches in [(8, 1), (3, 2), (5, 3), (2, 3)]:
        np.testing.assert_array_equal(run(instance, IN=numbers(rows, 4))["OUT"], numbers(rows, 4) * 2)
        assert engines.cuda.calls.count("cuGraphLaunch") == launches
    instance.close()


@pytest.mark.parametrize("obstacle", ["uncapturable", "no instance"])
def test_what_cannot_be_captured_runs_without(
    engines: Engines, obstacle: str, caplog: pytest.LogCaptureFixture
) -> None:
    if obstacle == "no instance":
        engines.cuda.fail["cuGraphInstantiateWithFlags"] = 1
    instance = engines.instance(engines.write(graphs(), uncapturable=obstacle == "uncapturable", **DOUBLE))
    assert "model 'm': no CUDA graphs are captured: " in caplog.text
    np.testing.assert_array_equal(run(instance, IN=numbers(4, 4))["OUT"], numbers(4, 4) * 2)
    instance.close()
    assert not engines.cuda.left()


def test_data_dependent_outputs_are_not_captured(engines: Engines, caplog: pytest.LogCaptureFixture) -> None:
    source = engines.write(
        "optimization { cuda { graphs: true } }",
        operation="positive",
        inputs={"IN": ("FLOAT", [-1])},
        outputs={"OUT": ("FLOAT", [-1])},
        profiles=[{"IN": [[1], [4], [10]]}],
    )
    instance = engines.instance(source)
    assert "the shape of an output depends on what is in the inputs" in caplog.text
    np.testing.assert_array_equal(run(instance, IN=numbers(4))["OUT"], [1, 2, 3])
    instance.close()


def test_shape_tensors_are_not_captured(engines: Engines, caplog: pytest.LogCaptureFixture) -> None:
    instance = engines.instance(engines.write(DECLARED % 2 + "optimization { cuda { graphs: true } }", **EXPAND))
    assert "no CUDA graphs are captured: 'SHAPE' is a shape tensor" in caplog.text
    instance.close()


@pytest.mark.parametrize(
    ("config", "priority", "flags"),
    [
        ("", 0, 3),
        ("optimization { priority: PRIORITY_MAX }", -5, 3),
        ("optimization { cuda { busy_wait_events: true } }", 0, 2),
    ],
)
def test_the_stream(engines: Engines, config: str, priority: int, flags: int) -> None:
    instance = engines.instance(engines.write(config, **DOUBLE))
    assert [one.priority for one in engines.cuda.streams.values()] == [priority]
    assert engines.cuda.event_flags == [flags]
    instance.close()


def test_what_tensorrt_refuses_is_told_and_the_instance_goes_on(engines: Engines) -> None:
    instance = engines.instance(engines.write(fails="IExecutionContext::enqueueV3: out of luck", **DOUBLE))
    for _ in range(2):
        with pytest.raises(InternalError, match=r"TensorRT cannot execute the batch: .*out of luck"):
            run(instance, IN=numbers(2, 3))
    instance.close()
    assert not engines.cuda.left().get("streams")


@pytest.mark.parametrize("call", ["cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuEventSynchronize"])
def test_a_failure_of_cuda_fails_the_batch_alone(engines: Engines, call: str) -> None:
    instance = engines.instance(engines.write(**DOUBLE))
    engines.cuda.fail[call] = 700
    with pytest.raises(InternalError, match=f"TensorRT on GPU 0: {call}: CUDA error 700"):
        run(instance, IN=numbers(2, 3))
    assert not any(stream.todo for stream in engines.cuda.streams.values())  # or it would read arrays that are gone
    del engines.cuda.fail[call]
    np.testing.assert_array_equal(run(instance, IN=numbers(2, 3))["OUT"], numbers(2, 3) * 2)
    instance.close()


def test_a_batch_for_which_there_is_no_memory(engines: Engines) -> None:
    instance = engines.instance(engines.write(**DOUBLE))
    run(instance, IN=numbers(1, 1))
    engines.cuda.free_bytes = 100
    with pytest.raises(InternalError, match=r"cuMemAlloc_v2: CUDA error 2: out of memory"):
        run(instance, IN=numbers(8, 64))
    engines.cuda.free_bytes = 1 << 20
    np.testing.assert_array_equal(run(instance, IN=numbers(8, 64))["OUT"], numbers(8, 64) * 2)
    instance.close()


@pytest.mark.parametrize("call", ["cuStreamCreateWithPriority", "cuEventCreate", "cuMemAlloc_v2"])
def test_an_instance_that_cannot_be_made_leaves_nothing(engines: Engines, call: str) -> None:
    source = engines.write(**DOUBLE)
    model = engines.backend.load(source)
    engines.cuda.fail[call] = 2
    with pytest.raises(InternalError, match=r"no instance on GPU 0"):
        model.instance(PLACEMENT)
    model.close()
    assert not engines.cuda.left()


def test_nothing_stays_when_models_come_and_go(engines: Engines) -> None:
    for _ in range(3):
        model = engines.backend.load(engines.write(graphs() + BOTH, **DOUBLE))
        instances = [model.instance(PLACEMENT) for _ in range(2)]
        for instance in instances:
            run(instance, IN=numbers(4, 4))
        for instance in instances:
            instance.close()
        model.close()
        del model, instances, instance
        gc.collect()
        assert not engines.cuda.left()
        assert engines.cuda.free_bytes == 1 << 24
        assert not list(engines.tensorrt.held)


def test_instances_of_a_gpu_share_the_engine(engines: Engines) -> None:
    two = 'instance_group { name: "m_0" kind: KIND_GPU count: 2 gpus: [ 0, 1 ] }'
    model = engines.backend.load(engines.write(two, **DOUBLE))
    assert engines.tensorrt.deserialized == 2  # once on each
    for device in (0, 1, 0):
        instance = model.instance(Placement(f"m_0_{device}_gpu{device}", "KIND_GPU", device))
        np.testing.assert_array_equal(run(instance, IN=numbers(2, 2))["OUT"], numbers(2, 2) * 2)
        instance.close()
    assert engines.tensorrt.deserialized == 2
    model.close()


@pytest.mark.parametrize("kind", ["KIND_CPU", "KIND_MODEL"])
def test_gpus_only(engines: Engines, kind: str) -> None:
    model = engines.backend.load(engines.write(**DOUBLE))
    with pytest.raises(ConfigError, match=f"TensorRT backend supports only GPU device: instance 'm_0' is {kind}"):
        model.instance(Placement("m_0", kind))
    model.close()
