"""The options of ONNX Runtime's execution providers that a configuration can set, and what each of them may be.

Those of TensorRT are Triton's, and what else that provider takes. Addresses of memory, streams and devices are in no
table: the server chooses them.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_SWITCHES = {"0": "False", "1": "True", "false": "False", "true": "True"}
_SHAPES = re.compile(r"[^\s:,]+:\d+(x\d+)*(,[^\s:,]+:\d+(x\d+)*)*")
_DEVICE = re.compile(r"(CPU|GPU(\.\d+)?|NPU)|(AUTO|HETERO|MULTI|BATCH):\w[\w.,:()]*")
_SIZE_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Form:
    """What an option may be. `read` turns a configuration's text into the provider's; None where it is wrong."""

    wanted: str
    read: Callable[[str], str | None]


def _number(least: int, most: int) -> Form:
    def read(text: str) -> str | None:
        digits = text.removeprefix("-")
        valid = digits.isascii() and digits.isdigit() and len(digits) <= 20 and least <= int(text) <= most
        return str(int(text)) if valid else None

    return Form(f"a whole number from {least} to {most}", read)


def _one_of(words: Sequence[str], *, numbered: bool = False) -> Form:
    """One of the words in any case of the letters, or its number."""
    known = {word.lower(): word for word in words}
    if numbered:
        known |= {str(number): word for number, word in enumerate(words)}
    named = ", ".join(f"{number} ({word})" for number, word in enumerate(words)) if numbered else ", ".join(words)
    return Form(f"one of {named}", lambda text: known.get(text.lower()))


def _json_object(text: str) -> str | None:
    try:
        return text if isinstance(json.loads(text), dict) else None
    except (ValueError, RecursionError):
        return None


SWITCH = Form("true or false", lambda text: _SWITCHES.get(text.lower()))
TEXT = Form("a text", lambda text: text or None)
SHAPES = Form(
    "shapes such as input_ids:1x128,attention_mask:1x128", lambda text: text if _SHAPES.fullmatch(text) else None
)
DEVICE = Form(
    "CPU, GPU, GPU.0, NPU, or such as AUTO:GPU,CPU",
    lambda text: text.upper() if _DEVICE.fullmatch(text.upper()) else None,
)
JSON = Form("a JSON object", _json_object)
BYTES = _number(0, _SIZE_MAX)
COUNT = _number(0, 2**31 - 1)
ARENA = _one_of(("kNextPowerOfTwo", "kSameAsRequested"), numbered=True)
CONVOLUTIONS = _one_of(("EXHAUSTIVE", "HEURISTIC", "DEFAULT"), numbered=True)
PRECISION_MODE = _one_of(("FP32", "FP16", "INT8"))

TENSORRT: Mapping[str, Form] = {
    "trt_max_workspace_size": BYTES,
    "trt_max_partition_iterations": COUNT,
    "trt_min_subgraph_size": COUNT,
    "trt_fp16_enable": SWITCH,
    "trt_bf16_enable": SWITCH,
    "trt_int8_enable": SWITCH,
    "trt_int8_calibration_table_name": TEXT,
    "trt_int8_use_native_calibration_table": SWITCH,
    "trt_dla_enable": SWITCH,
    "trt_dla_core": COUNT,
    "trt_engine_cache_enable": SWITCH,
    "trt_engine_cache_path": TEXT,
    "trt_engine_cache_prefix": TEXT,
    "trt_engine_decryption_enable": SWITCH,
    "trt_engine_decryption_lib_path": TEXT,
    "trt_engine_hw_compatible": SWITCH,
    "trt_weight_stripped_engine_enable": SWITCH,
    "trt_onnx_model_folder_path": TEXT,
    "trt_dump_subgraphs": SWITCH,
    "trt_force_sequential_engine_build": SWITCH,
    "trt_context_memory_sharing_enable": SWITCH,
    "trt_layer_norm_fp32_fallback": SWITCH,
    "trt_timing_cache_enable": SWITCH,
    "trt_timing_cache_path": TEXT,
    "trt_force_timing_cache": SWITCH,
    "trt_detailed_build_log": SWITCH,
    "trt_build_heuristics_enable": SWITCH,
    "trt_sparsity_enable": SWITCH,
    "trt_builder_optimization_level": _number(0, 5),
    "trt_auxiliary_streams": _number(-1, 1024),
    "trt_tactic_sources": TEXT,
    "trt_extra_plugin_lib_paths": TEXT,
    "trt_profile_min_shapes": SHAPES,
    "trt_profile_max_shapes": SHAPES,
    "trt_profile_opt_shapes": SHAPES,
    "trt_cuda_graph_enable": SWITCH,
    "trt_preview_features": TEXT,
    "trt_op_types_to_exclude": TEXT,
    "trt_dump_ep_context_model": SWITCH,
    "trt_ep_context_file_path": TEXT,
    "trt_ep_context_embed_mode": _number(0, 1),
    "trt_load_user_initializer": SWITCH,
}

CUDA: Mapping[str, Form] = {
    "gpu_mem_limit": BYTES,
    "arena_extend_strategy": ARENA,
    "cudnn_conv_algo_search": CONVOLUTIONS,
    "cudnn_conv_use_max_workspace": SWITCH,
    "cudnn_conv1d_pad_to_nc1d": SWITCH,
    "do_copy_in_default_stream": SWITCH,
    "enable_cuda_graph": SWITCH,
    "enable_skip_layer_norm_strict_mode": SWITCH,
    "fuse_conv_bias": SWITCH,
    "prefer_nhwc": SWITCH,
    "sdpa_kernel": COUNT,
    "tunable_op_enable": SWITCH,
    "tunable_op_tuning_enable": SWITCH,
    "tunable_op_max_tuning_duration_ms": COUNT,
    "use_ep_level_unified_stream": SWITCH,
    "use_tf32": SWITCH,
}

ROCM: Mapping[str, Form] = {
    "gpu_mem_limit": BYTES,
    "arena_extend_strategy": ARENA,
    "do_copy_in_default_stream": SWITCH,
    "enable_hip_graph": SWITCH,
    "miopen_conv_exhaustive_search": SWITCH,
    "miopen_conv_use_max_workspace": SWITCH,
    "tunable_op_enable": SWITCH,
    "tunable_op_tuning_enable": SWITCH,
    "tunable_op_max_tuning_duration_ms": COUNT,
}

MIGRAPHX: Mapping[str, Form] = {
    "migraphx_fp16_enable": SWITCH,
    "migraphx_bf16_enable": SWITCH,
    "migraphx_fp8_enable": SWITCH,
    "migraphx_int8_enable": SWITCH,
    "migraphx_int8_calibration_table_name": TEXT,
    "migraphx_int8_use_native_calibration_table": SWITCH,
    "migraphx_exhaustive_tune": SWITCH,
    "migraphx_mem_limit": BYTES,
    "migraphx_arena_extend_strategy": ARENA,
    "migraphx_model_cache_dir": TEXT,
}

OPENVINO: Mapping[str, Form] = {
    "device_type": DEVICE,
    "precision": _one_of(("FP32", "FP16", "ACCURACY")),
    "num_of_threads": _number(1, 1024),
    "num_streams": _number(1, 1024),
    "cache_dir": TEXT,
    "load_config": JSON,
    "model_priority": _one_of(("DEFAULT", "LOW", "MEDIUM", "HIGH")),
    "enable_opencl_throttling": SWITCH,
    "enable_qdq_optimizer": SWITCH,
    "disable_dynamic_shapes": SWITCH,
    "reshape_input": TEXT,
    "layout": TEXT,
}
