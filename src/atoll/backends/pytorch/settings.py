"""What `parameters` and --backend-config say to this backend, under the names that Triton's PyTorch backend uses.

Keys that are none of ours are left alone, as in Triton.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.parameters import MAX_THREADS, Parameters

_COMPILE = "TORCH_COMPILE"
_COMPILE_OPTIONS = "TORCH_COMPILE_OPTIONAL_PARAMETERS"
_COMPILE_KEYS = frozenset({"disable", "fullgraph", "dynamic", "backend", "mode", "options"})
_NO_EFFECT = ("ENABLE_NVFUSER",)  # PyTorch 2 has no such fuser any more
_PROCESS_SWITCHES = ("ENABLE_JIT_EXECUTOR", "ENABLE_JIT_PROFILING", "ENABLE_TENSOR_FUSER")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """How a model is run. A thread count of 0 leaves the choice to PyTorch; None leaves a switch as it is.

    `share_weights`: True shares one module among the instances of a device, False gives each its own, None shares as
    much as cannot be seen. `compile`: the arguments of torch.compile, None where nothing is compiled.
    `process_switches`: those of TorchScript's executor, which the whole process has.
    """

    inference_mode: bool = True
    optimized_execution: bool = True
    autocast: str = ""
    compile: Mapping[str, Any] | None = None
    share_weights: bool | None = None
    clean_cache: bool = False
    cudnn: bool = True
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    process_switches: Mapping[str, bool] | None = None
    module_class: str = ""
    allow_pickle: bool = False
    without_effect: tuple[str, ...] = ()


def model_settings(source: ModelSource) -> ModelSettings:
    """Read them. Raises ConfigError naming the key and what it may be."""
    found = Parameters(source)
    switches = {key: found.switch(key) for key in _PROCESS_SWITCHES if found.text(key)}
    share = found.switch("ENABLE_WEIGHT_SHARING") if found.text("ENABLE_WEIGHT_SHARING") else None
    for key in _NO_EFFECT:
        found.switch(key)
    intra = found.number("INTRA_OP_THREAD_COUNT", MAX_THREADS) or found.number("NUM_THREADS", MAX_THREADS)
    inter = found.number("INTER_OP_THREAD_COUNT", MAX_THREADS) or found.number("NUM_INTEROP_THREADS", MAX_THREADS)
    return ModelSettings(
        inference_mode=found.switch("INFERENCE_MODE", True),
        optimized_execution=not found.switch("DISABLE_OPTIMIZED_EXECUTION"),
        autocast=found.choice("AUTOCAST", ("bf16", "fp16")),
        compile=_compile(found),
        share_weights=share,
        clean_cache=found.switch("ENABLE_CACHE_CLEANING"),
        cudnn=not found.switch("DISABLE_CUDNN"),
        intra_op_threads=intra,
        inter_op_threads=inter,
        process_switches=switches or None,
        module_class=found.text("MODULE_CLASS"),
        allow_pickle=found.operator_allows("allow-pickle"),
        without_effect=tuple(key for key in _NO_EFFECT if found.text(key)),
    )


def _compile(found: Parameters) -> Mapping[str, Any] | None:
    text = found.text(_COMPILE_OPTIONS)
    wanted = found.switch(_COMPILE, bool(text))
    if not wanted or not text:
        return {} if wanted else None
    form = f"a JSON object with some of {', '.join(sorted(_COMPILE_KEYS))}"
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise found.wrong(_COMPILE_OPTIONS, form) from error
    if not isinstance(given, dict) or not _COMPILE_KEYS.issuperset(given):
        raise found.wrong(_COMPILE_OPTIONS, form)
    return None if given.get("disable") is True else given
