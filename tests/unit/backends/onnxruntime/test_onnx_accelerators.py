"""Accelerators in a configuration, as ONNX Runtime's providers and their options: nothing here is run."""

from pathlib import Path
from typing import Any

import pytest

from atoll.backends.api import ModelSource
from atoll.backends.onnxruntime.accelerator_options import CUDA, MIGRAPHX, OPENVINO, ROCM, TENSORRT
from atoll.backends.onnxruntime.accelerators import Accelerators, accelerators_of
from atoll.backends.parameters import Parameters
from atoll.config.textproto import read_config_text
from atoll.errors import ConfigError


def read(text: str, **settings: str) -> Accelerators:
    config = read_config_text(f'name: "m" backend: "onnxruntime" {text}', "config.pbtxt")
    source = ModelSource("m", 1, Path("m"), Path("m/1"), config, settings)
    return accelerators_of(config.optimization, Parameters(source), "m")


def accelerated(kind: str, name: str, **parameters: str) -> str:
    written = " ".join(f"parameters {{ key: '{key}' value: '{value}' }}" for key, value in parameters.items())
    inner = f"{kind}_execution_accelerator: [ {{ name: '{name}' {written} }} ]"
    return f"optimization {{ execution_accelerators {{ {inner} }} }}"


def gpu(name: str, **parameters: str) -> str:
    return accelerated("gpu", name, **parameters)


def shown(providers: Any) -> list[Any]:
    return [(one.name, dict(one.options)) for one in providers]


CPU = ("CPUExecutionProvider", {})


def test_without_a_word_the_cpu_alone_or_cuda_first() -> None:
    found = read("")
    assert shown(found.on_cpu()) == [CPU]
    assert shown(found.on_gpu(2)) == [("CUDAExecutionProvider", {"device_id": "2"}), CPU]
    assert shown(found.on_gpu(0, "ROCMExecutionProvider")) == [("ROCMExecutionProvider", {"device_id": "0"}), CPU]


def test_tensorrt_comes_before_cuda_with_tritons_keys() -> None:
    found = read(
        gpu(
            "tensorrt",
            precision_mode="fp16",
            max_workspace_size_bytes="1073741824",
            int8_calibration_table_name="table.flatbuffers",
            int8_use_native_calibration_table="0",
            trt_engine_cache_enable="true",
            trt_engine_cache_path="/cache",
            trt_profile_min_shapes="x:1x3x224x224",
            trt_auxiliary_streams="-1",
            trt_builder_optimization_level="5",
        )
    )
    tensorrt = {
        "device_id": "1",
        "trt_fp16_enable": "True",
        "trt_max_workspace_size": "1073741824",
        "trt_int8_calibration_table_name": "table.flatbuffers",
        "trt_int8_use_native_calibration_table": "False",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": "/cache",
        "trt_profile_min_shapes": "x:1x3x224x224",
        "trt_auxiliary_streams": "-1",
        "trt_builder_optimization_level": "5",
    }
    cuda = ("CUDAExecutionProvider", {"device_id": "1"})
    assert shown(found.on_gpu(1)) == [("TensorrtExecutionProvider", tensorrt), cuda, CPU]
    assert shown(found.on_cpu()) == [CPU]


@pytest.mark.parametrize(
    ("mode", "options"), [("FP32", {}), ("FP16", {"trt_fp16_enable": "True"}), ("INT8", {"trt_int8_enable": "True"})]
)
def test_precision_modes(mode: str, options: dict[str, str]) -> None:
    assert dict(read(gpu("tensorrt", precision_mode=mode)).gpu[0].options) == options


# The table of Triton's ONNX Runtime backend.
TRITONS_TENSORRT_KEYS = {
    "precision_mode": "FP16",
    "max_workspace_size_bytes": "1",
    "int8_calibration_table_name": "t",
    "int8_use_native_calibration_table": "1",
    "trt_engine_cache_enable": "1",
    "trt_engine_cache_path": "p",
    "trt_engine_cache_prefix": "p",
    "trt_dump_subgraphs": "1",
    "trt_force_sequential_engine_build": "1",
    "trt_context_memory_sharing_enable": "1",
    "trt_layer_norm_fp32_fallback": "1",
    "trt_timing_cache_enable": "1",
    "trt_timing_cache_path": "p",
    "trt_force_timing_cache": "1",
    "trt_detailed_build_log": "1",
    "trt_build_heuristics_enable": "1",
    "trt_sparsity_enable": "1",
    "trt_builder_optimization_level": "3",
    "trt_auxiliary_streams": "2",
    "trt_tactic_sources": "-CUDNN,+CUBLAS",
    "trt_extra_plugin_lib_paths": "/l.so",
    "trt_profile_min_shapes": "a:1x2,b:3",
    "trt_profile_max_shapes": "a:4x2,b:3",
    "trt_profile_opt_shapes": "a:2x2,b:3",
    "trt_dump_ep_context_model": "1",
    "trt_ep_context_file_path": "p",
    "trt_ep_context_embed_mode": "0",
    "trt_max_partition_iterations": "1000",
    "trt_min_subgraph_size": "1",
    "trt_dla_enable": "1",
    "trt_dla_core": "0",
    "trt_cuda_graph_enable": "0",
}


@pytest.mark.parametrize("key", TRITONS_TENSORRT_KEYS)
def test_every_key_of_tritons_table(key: str) -> None:
    options = read(gpu("tensorrt", **{key: TRITONS_TENSORRT_KEYS[key]})).gpu[0].options
    assert set(options) <= set(TENSORRT)
    assert len(options) == (0 if key == "trt_cuda_graph_enable" else 1)


def test_options_of_cuda_as_an_accelerator_win_over_the_models_parameters() -> None:
    text = gpu("cuda", cudnn_conv_algo_search="HEURISTIC", use_tf32="0") + (
        "parameters { key: 'cudnn_conv_algo_search' value { string_value: '2' } }"
        "parameters { key: 'gpu_mem_limit' value { string_value: '18446744073709551615' } }"
        "parameters { key: 'arena_extend_strategy' value { string_value: '1' } }"
    )
    options = {
        "device_id": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "gpu_mem_limit": "18446744073709551615",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "False",
    }
    assert shown(read(text).on_gpu(0)) == [("CUDAExecutionProvider", options), CPU]


def test_cudas_parameters_can_be_the_command_lines() -> None:
    found = read("", do_copy_in_default_stream="0", cudnn_conv_algo_search="0")
    options = {"device_id": "0", "cudnn_conv_algo_search": "EXHAUSTIVE", "do_copy_in_default_stream": "False"}
    assert shown(found.on_gpu(0)) == [("CUDAExecutionProvider", options), CPU]
    assert shown(found.on_gpu(0, "ROCMExecutionProvider"))[0] == ("ROCMExecutionProvider", {"device_id": "0"})


def test_openvino_follows_the_gpu_and_stands_before_the_cpu() -> None:
    found = read(accelerated("cpu", "openvino", num_of_threads="2"))
    openvino = ("OpenVINOExecutionProvider", {"num_of_threads": "2", "device_type": "CPU"})
    assert shown(found.on_cpu()) == [openvino, CPU]
    assert shown(found.on_gpu(0)) == [("CUDAExecutionProvider", {"device_id": "0"}), openvino, CPU]


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {"device_type": "CPU"}),
        ({"device_type": "CPU_FP32"}, {"device_type": "CPU", "precision": "FP32"}),
        ({"device_type": "GPU_FP16"}, {"device_type": "GPU", "precision": "FP16"}),
        ({"device_type": "gpu.1", "precision": "fp16"}, {"device_type": "GPU.1", "precision": "FP16"}),
        ({"device_type": "AUTO:GPU,CPU"}, {"device_type": "AUTO:GPU,CPU"}),
    ],
)
def test_devices_of_openvino(given: dict[str, str], options: dict[str, str]) -> None:
    assert dict(read(accelerated("cpu", "openvino", **given)).cpu[0].options) == options


@pytest.mark.parametrize("name", ["rocm", "migraphx"])
def test_amds_providers_stand_for_the_gpus_own(name: str) -> None:
    own = {"rocm": "ROCMExecutionProvider", "migraphx": "MIGraphXExecutionProvider"}[name]
    assert [one.name for one in read(gpu(name)).on_gpu(0, own)] == [own, "CPUExecutionProvider"]


def test_options_that_would_give_stale_answers_are_left_out_and_told() -> None:
    found = read(gpu("tensorrt", trt_cuda_graph_enable="1", trt_dla_enable="1"))
    assert dict(found.gpu[0].options) == {"trt_dla_enable": "True"}
    assert found.left_out == ("trt_cuda_graph_enable",)
    assert read(gpu("cuda", enable_cuda_graph="0")).left_out == ()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (gpu("tensor_rt"), "unknown Execution Accelerator 'tensor_rt' is requested for model 'm' .* tensorrt, cuda"),
        (gpu("openvino"), "unknown Execution Accelerator 'openvino' .* in gpu_execution_accelerator"),
        (accelerated("cpu", "tensorrt"), "unknown Execution Accelerator 'tensorrt' .* it may be openvino"),
        (gpu("tensorrt", precision_mode="FP8"), "'precision_mode' of TensorRT .* 'FP8' but must be one of FP32, FP16"),
        (gpu("tensorrt", trt_fp16_enabled="1"), "unknown parameter 'trt_fp16_enabled' .* did you mean 'trt_fp16_enab"),
        (gpu("tensorrt", max_workspace_size_bytes="1GB"), "must be a whole number from 0 to 18446744073709551615"),
        (gpu("tensorrt", trt_profile_min_shapes="1x3"), "must be shapes such as"),
        (gpu("tensorrt", trt_builder_optimization_level="6"), "from 0 to 5"),
        (gpu("tensorrt", trt_engine_cache_path=""), "must be a text"),
        (gpu("cuda", device_id="1"), "unknown parameter 'device_id' is provided for CUDA"),
        (gpu("cuda", user_compute_stream="140000"), "unknown parameter 'user_compute_stream'"),
        (gpu("cuda", cudnn_conv_algo_search="3"), r"one of 0 \(EXHAUSTIVE\), 1 \(HEURISTIC\), 2 \(DEFAULT\)"),
        (accelerated("cpu", "openvino", precision="FP16"), "'precision' of OpenVINO .* 'FP16' on a CPU: use FP32"),
        (accelerated("cpu", "openvino", load_config="ov.json"), "must be a JSON object"),
        (accelerated("cpu", "openvino", load_config="[" * 100_000), "must be a JSON object"),
        (accelerated("cpu", "openvino", num_of_threads="²"), "from 1 to 1024"),
    ],
)
def test_what_is_wrong_is_named_with_what_it_may_be(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert problem.path.startswith("optimization.execution_accelerators.")


def test_an_accelerator_is_asked_for_once() -> None:
    twice = "{ name: 'cuda' }, { name: 'CUDA' }"
    with pytest.raises(ConfigError, match="'CUDA' is requested twice"):
        read(f"optimization {{ execution_accelerators {{ gpu_execution_accelerator: [ {twice} ] }} }}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gpu_mem_limit", "-1"),
        ("gpu_mem_limit", "18446744073709551616"),
        ("arena_extend_strategy", "2"),
        ("cudnn_conv_algo_search", "FAST"),
        ("do_copy_in_default_stream", "maybe"),
    ],
)
def test_a_bad_parameter_of_cuda_names_its_key(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^parameter '{key}' of model 'm' is '{value}' but must be "):
        read(f"parameters {{ key: '{key}' value {{ string_value: '{value}' }} }}")


@pytest.mark.parametrize("table", [TENSORRT, CUDA, ROCM, MIGRAPHX, OPENVINO])
def test_no_address_and_no_device_can_be_set(table: Any) -> None:
    assert not table.keys() & {"device_id", "user_compute_stream", "has_user_compute_stream", "gpu_external_alloc"}
