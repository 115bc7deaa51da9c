"""Parameters under Triton's names: what they set, and what is said of bad ones."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tests.fresh_python import run_code

from atoll.backends.onnxruntime.backend import OnnxRuntimeBackend
from atoll.backends.onnxruntime.sessions import SPINNING_SESSIONS
from atoll.backends.onnxruntime.settings import session_options, session_settings
from atoll.config.model_config import ModelOperations, ModelOptimizationPolicy
from atoll.errors import ConfigError

HAS_OPENVINO = "OpenVINOExecutionProvider" in onnxruntime.get_available_providers()


def options_of(source: Any) -> Any:
    return session_options(onnxruntime, session_settings(source))


def test_defaults_are_those_of_onnx_runtime(models: Any) -> None:
    ours, theirs = options_of(models.source()), onnxruntime.SessionOptions()
    for name in (
        "intra_op_num_threads",
        "inter_op_num_threads",
        "execution_mode",
        "graph_optimization_level",
        "enable_cpu_mem_arena",
        "enable_mem_pattern",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize(
    ("parameters", "name", "value"),
    [
        ({"intra_op_thread_count": "3"}, "intra_op_num_threads", 3),
        ({"inter_op_thread_count": " 2 "}, "inter_op_num_threads", 2),
        ({"execution_mode": "1"}, "execution_mode", onnxruntime.ExecutionMode.ORT_PARALLEL),
        ({"execution_mode": "0"}, "execution_mode", onnxruntime.ExecutionMode.ORT_SEQUENTIAL),
        ({"enable_mem_arena": "0"}, "enable_cpu_mem_arena", False),
        ({"enable_mem_pattern": "false"}, "enable_mem_pattern", False),
    ],
)
def test_parameters(models: Any, configured: Any, parameters: dict[str, str], name: str, value: Any) -> None:
    assert getattr(options_of(configured(models.source(), parameters)), name) == value


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (-1, "ORT_ENABLE_BASIC"),
        (0, "ORT_ENABLE_ALL"),
        (1, "ORT_ENABLE_EXTENDED"),
        (2, "ORT_DISABLE_ALL"),
        (99, "ORT_ENABLE_ALL"),
    ],
)
def test_graph_levels_are_tritons(models: Any, level: int, name: str) -> None:
    policy = ModelOptimizationPolicy(graph=ModelOptimizationPolicy.Graph(level=level))
    options = options_of(models.source(optimization=policy))
    assert options.graph_optimization_level == getattr(onnxruntime.GraphOptimizationLevel, name)


def test_the_model_wins_over_the_backends_settings(models: Any, configured: Any) -> None:
    settings = {"intra_op_thread_count": "4", "inter_op_thread_count": "5", "default-max-batch-size": "8"}
    options = options_of(configured(models.source(), {"intra_op_thread_count": "1"}, settings))
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 5)


def test_config_entries_reach_the_session(models: Any, configured: Any) -> None:
    given = {
        "session.intra_op.allow_spinning": "0",
        "session.use_device_allocator_for_initializers": "1",
        "optimization.enable_gelu_approximation": "1",
        "accuracy": "0.99",
    }
    options = options_of(configured(models.source(), given))
    for key in list(given)[:3]:
        assert options.get_session_config_entry(key) == given[key]
    with pytest.raises(RuntimeError):
        options.get_session_config_entry("accuracy")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("intra_op_thread_count", "-1"),
        ("intra_op_thread_count", "many"),
        ("intra_op_thread_count", "1000000"),
        ("intra_op_thread_count", "²"),
        ("inter_op_thread_count", "1.5"),
        ("execution_mode", "2"),
        ("enable_mem_arena", "maybe"),
        ("enable_mem_pattern", "2"),
        ("memory.enable_memory_arena_shrinkage", "cpu"),
        ("memory.enable_memory_arena_shrinkage", "cpu:1"),
        ("session.intra_op.allow_spinning", "maybe"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_key(models: Any, configured: Any, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^parameter '{key}' of model 'm' is '{value}' but must be") as caught:
        models.backend.load(configured(models.identity("FP32"), {key: value}))
    assert [one.path for one in caught.value.problems] == [f"parameters[{key!r}]"]


def test_a_bad_setting_of_the_backend_names_the_command_line(models: Any, configured: Any) -> None:
    source = configured(models.identity("FP32"), settings={"intra_op_thread_count": "x"})
    with pytest.raises(ConfigError, match=r"^--backend-config=onnxruntime,intra_op_thread_count=x is 'x' but must be"):
        models.backend.load(source)


def test_a_bad_config_entry_is_reported_without_printing(models: Any, configured: Any, capfd: Any) -> None:
    source = configured(models.identity("FP32"), {"session.intra_op_thread_affinities": "bad"})
    with pytest.raises(ConfigError, match=r"failed to load model 'm'.*onnx runtime error"):
        models.backend.load(source)
    assert capfd.readouterr() == ("", "")


def test_an_overlong_config_entry_is_named(models: Any, configured: Any) -> None:
    key = "session." + "x" * 5000
    with pytest.raises(ConfigError, match=r"does not take the parameter 'session\.xxx"):
        models.backend.load(configured(models.identity("FP32"), {key: "1"}))


def test_shrinking_the_arena_needs_one(models: Any, configured: Any) -> None:
    given = {"memory.enable_memory_arena_shrinkage": "cpu:0", "enable_mem_arena": "0"}
    with pytest.raises(ConfigError, match="enable_mem_arena is 0"):
        models.backend.load(configured(models.identity("FP32"), given))


@pytest.mark.parametrize("devices", ["cpu:0", "cpu:0;gpu:0", "gpu:0"])
def test_shrinking_the_arena_after_each_run(models: Any, configured: Any, devices: str) -> None:
    given = {"memory.enable_memory_arena_shrinkage": devices}
    instance = models.instance(configured(models.identity("FP32"), given))
    assert instance.execute({"IN": np.ones((1, 2), np.float32)}, ["OUT"])["OUT"].tolist() == [[1.0, 1.0]]


def test_everything_at_once_still_runs(models: Any, configured: Any) -> None:
    given = {
        "intra_op_thread_count": "2",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "0",
        "enable_mem_pattern": "0",
        "session.intra_op.allow_spinning": "0",
        "session.use_device_allocator_for_initializers": "1",
    }
    instance = models.instance(configured(models.identity("FP32"), given))
    assert instance.execute({"IN": np.ones((1, 2), np.float32)}, ["OUT"])["OUT"].tolist() == [[1.0, 1.0]]


@pytest.mark.skipif(HAS_OPENVINO, reason="this ONNX Runtime has it")
def test_an_accelerator_that_is_not_there_is_named(models: Any) -> None:
    accelerator = ModelOptimizationPolicy.ExecutionAccelerators.Accelerator(name="openvino")
    policy = ModelOptimizationPolicy(
        execution_accelerators=ModelOptimizationPolicy.ExecutionAccelerators(cpu_execution_accelerator=(accelerator,))
    )
    source = models.identity("FP32")
    with pytest.raises(ConfigError, match="'openvino'"):
        models.backend.load(replace(source, config=replace(source.config, optimization=policy)))


def test_a_missing_operator_library_is_named(models: Any) -> None:
    source = models.identity("FP32")
    operations = ModelOperations(op_library_filename=("custom.so",))
    with pytest.raises(ConfigError, match=r"^model 'm': model_operations.op_library_filename names 'custom\.so'"):
        models.backend.load(replace(source, config=replace(source.config, model_operations=operations)))


def spinning(model: Any) -> str:
    """What its session was told of that; "" for nothing."""
    options = model._sessions[None].get_session_options()
    try:
        return str(options.get_session_config_entry("session.intra_op.allow_spinning"))
    except RuntimeError:
        return ""


def test_the_threads_of_many_models_rest(models: Any) -> None:
    backend = OnnxRuntimeBackend()
    source = models.identity("FP32")
    few = SPINNING_SESSIONS * (os.cpu_count() or 1)
    loaded = [backend.load(source) for _ in range(few)]
    assert {spinning(one) for one in loaded} == {""}
    rests = backend.load(source)
    assert spinning(rests) == "0"
    says = replace(source, settings={"session.intra_op.allow_spinning": "1"})
    spins = backend.load(says)
    assert spinning(spins) == "1"
    for one in (rests, spins, loaded.pop()):
        one.close()
    again = backend.load(source)
    assert spinning(again) == ""
    for one in (again, *loaded):
        one.close()


MISSING = """
import sys
sys.modules["onnxruntime"] = None
from atoll.backends.onnxruntime import OnnxRuntimeBackend
from atoll.errors import MissingExtraError
try:
    OnnxRuntimeBackend().gpu_support(None, (0,))
except MissingExtraError as error:
    print(error)
"""


def test_a_missing_package_says_which_extra_to_install() -> None:
    assert 'pip install "atoll[onnxruntime]"' in run_code(MISSING).stdout


LAZY = """
import os, sys
os.environ.pop("ORT_DISABLE_TELEMETRY", None)
from atoll.backends.onnxruntime import OnnxRuntimeBackend
backend = OnnxRuntimeBackend()
print("onnxruntime" in sys.modules)
backend.gpu_support(None, (0,))
print("onnxruntime" in sys.modules, os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_the_library_is_imported_when_a_model_needs_it_and_reports_to_nobody() -> None:
    assert run_code(LAZY).stdout == "False\nTrue 1\n"
