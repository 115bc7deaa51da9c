"""What a configuration says of accelerators, as the execution providers that ONNX Runtime calls them, and no more: it
knows nothing of which are installed.

`optimization.execution_accelerators` has Triton's names and keys. An instance on a GPU gets those under
`gpu_execution_accelerator`, then the GPU's own provider, then those under `cpu_execution_accelerator`, and the CPU for
what is left; an instance on a CPU the last two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from atoll.backends.onnxruntime.accelerator_options import (
    ARENA,
    BYTES,
    CONVOLUTIONS,
    CUDA,
    MIGRAPHX,
    OPENVINO,
    PRECISION_MODE,
    ROCM,
    SWITCH,
    TENSORRT,
    Form,
)
from atoll.backends.parameters import Parameters
from atoll.config.model_config import ModelOptimizationPolicy
from atoll.config.problems import Problem
from atoll.errors import ConfigError

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
ROCM_PROVIDER = "ROCMExecutionProvider"
MIGRAPHX_PROVIDER = "MIGraphXExecutionProvider"
OPENVINO_PROVIDER = "OpenVINOExecutionProvider"
GPU_PROVIDERS = (CUDA_PROVIDER, ROCM_PROVIDER, MIGRAPHX_PROVIDER)
"""Those that can run a model on a GPU by themselves."""

# Parameters of a model that Triton's backend hands to CUDA.
CUDA_PARAMETERS: Mapping[str, Form] = {
    "cudnn_conv_algo_search": CONVOLUTIONS,
    "gpu_mem_limit": BYTES,
    "arena_extend_strategy": ARENA,
    "do_copy_in_default_stream": SWITCH,
}

# Graphs of recorded kernels read and write where they did when they were recorded; a request's tensors are elsewhere.
_RECORDED = frozenset({"enable_cuda_graph", "trt_cuda_graph_enable", "enable_hip_graph"})

# Triton's own names for some of TensorRT's options.
_TENSORRT_NAMES = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_PRECISION_SWITCHES = {"FP32": None, "FP16": "trt_fp16_enable", "INT8": "trt_int8_enable"}
_OLD_DEVICES = {"CPU_FP32", "GPU_FP32", "GPU_FP16"}  # of OpenVINO: with the precision in the device's name


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider by ONNX Runtime's name, with its options."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


CPU = Provider(CPU_PROVIDER)


@dataclass(frozen=True, slots=True)
class Accelerators:
    """A model's, without the device that an instance is on. `left_out`: options that were asked for and have no place
    in a server, for a warning.
    """

    gpu: tuple[Provider, ...] = ()
    cpu: tuple[Provider, ...] = ()
    cuda: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def on_cpu(self) -> tuple[Provider, ...]:
        """The providers of an instance on the CPU, first choice first."""
        return (*self.cpu, CPU)

    def on_gpu(self, device: int, own: str = CUDA_PROVIDER) -> tuple[Provider, ...]:
        """Those of an instance on that GPU, whose `own` provider follows the ones that were asked for."""
        named = {one.name for one in self.gpu}
        rest = () if own in named else (Provider(own, self.cuda if own == CUDA_PROVIDER else {}),)
        placed = [Provider(one.name, {"device_id": str(device), **one.options}) for one in (*self.gpu, *rest)]
        return (*placed, *self.cpu, CPU)


@dataclass(frozen=True, slots=True)
class _Kind:
    title: str  # as Triton's errors call it
    provider: str
    options: Mapping[str, Form]


_TENSORRT = _Kind(
    "TensorRT",
    TENSORRT_PROVIDER,
    {
        **TENSORRT,
        **{ours: TENSORRT[theirs] for ours, theirs in _TENSORRT_NAMES.items()},
        "precision_mode": PRECISION_MODE,
    },
)
_GPU_KINDS = {
    "tensorrt": _TENSORRT,
    "cuda": _Kind("CUDA", CUDA_PROVIDER, CUDA),
    "rocm": _Kind("ROCm", ROCM_PROVIDER, ROCM),
    "migraphx": _Kind("MIGraphX", MIGRAPHX_PROVIDER, MIGRAPHX),
}
_CPU_KINDS = {"openvino": _Kind("OpenVINO", OPENVINO_PROVIDER, OPENVINO)}


def accelerators_of(policy: ModelOptimizationPolicy | None, parameters: Parameters, model: str) -> Accelerators:
    """Read them, whichever kind of instance the model has.

    Raises ConfigError naming an accelerator, key or value that is none, and what it may be.
    """
    left_out: list[str] = []
    asked = policy.execution_accelerators if policy is not None else None
    gpu: list[Provider] = []
    cpu: list[Provider] = []
    if asked is not None:
        gpu = _providers("gpu_execution_accelerator", asked.gpu_execution_accelerator, _GPU_KINDS, model, left_out)
        cpu = _providers("cpu_execution_accelerator", asked.cpu_execution_accelerator, _CPU_KINDS, model, left_out)
    cuda = _cuda_parameters(parameters)
    gpu = [Provider(one.name, {**cuda, **one.options}) if one.name == CUDA_PROVIDER else one for one in gpu]
    return Accelerators(tuple(gpu), tuple(cpu), cuda, tuple(left_out))


def _providers(
    place: str,
    asked: Sequence[ModelOptimizationPolicy.ExecutionAccelerators.Accelerator],
    kinds: Mapping[str, _Kind],
    model: str,
    left_out: list[str],
) -> list[Provider]:
    found: list[Provider] = []
    for index, one in enumerate(asked):
        path = f"optimization.execution_accelerators.{place}[{index}]"
        kind = kinds.get(one.name.lower())
        if kind is None:
            known = ", ".join(kinds)
            message = f"unknown Execution Accelerator '{one.name}' is requested for model '{model}' in {place}"
            raise _wrong(f"{path}.name", message, one.name, f"one of {known}", f"it may be {known}")
        if any(kind.provider == other.name for other in found):
            message = f"Execution Accelerator '{one.name}' is requested twice for model '{model}'"
            raise _wrong(f"{path}.name", message, one.name, "another one, or none", "remove one of them")
        found.append(Provider(kind.provider, _options(kind, one.parameters, path, model, left_out)))
    return found


def _options(kind: _Kind, written: Mapping[str, str], path: str, model: str, left_out: list[str]) -> Mapping[str, str]:
    options: dict[str, str] = {}
    for key, value in written.items():
        where = f"{path}.parameters[{key!r}]"
        form = kind.options.get(key)
        if form is None:
            near = get_close_matches(key, kind.options, 1)
            remedy = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(kind.options)}"
            message = f"unknown parameter '{key}' is provided for {kind.title} Execution Accelerator of model '{model}'"
            raise _wrong(where, message, key, near[0] if near else "", remedy)
        text = value.strip()
        if kind.provider == OPENVINO_PROVIDER and key == "device_type" and text.upper() in _OLD_DEVICES:
            text, _, precision = text.upper().partition("_")
            options.setdefault("precision", precision)
        read = form.read(text)
        if read is None:
            message = (
                f"parameter '{key}' of {kind.title} Execution Accelerator of model '{model}' is '{value}' "
                f"but must be {form.wanted}"
            )
            raise _wrong(where, message, value, form.wanted)
        if key in _RECORDED:
            left_out += [key] if read == "True" else []
        elif key == "precision_mode":
            switch = _PRECISION_SWITCHES[read]
            options |= {switch: "True"} if switch else {}
        else:
            options[_TENSORRT_NAMES.get(key, key)] = read
    if kind.provider == OPENVINO_PROVIDER:
        options.setdefault("device_type", "CPU")
        if options["device_type"] == "CPU" and options.get("precision") == "FP16":
            message = f"parameter 'precision' of OpenVINO Execution Accelerator of model '{model}' is 'FP16' on a CPU"
            raise _wrong(f"{path}.parameters['precision']", message, "FP16", "FP32 or ACCURACY", "use FP32 or ACCURACY")
    return options


def _cuda_parameters(parameters: Parameters) -> dict[str, str]:
    options = {}
    for key, form in CUDA_PARAMETERS.items():
        text = parameters.text(key)
        if not text:
            continue
        read = form.read(text)
        if read is None:
            raise parameters.wrong(key, form.wanted)
        options[key] = read
    return options


def _wrong(path: str, message: str, found: str, expected: str, remedy: str = "") -> ConfigError:
    text = f"{message}: {remedy}" if remedy else message
    return ConfigError(text, [Problem(path, text, f"'{found}'", expected, "Correct it, or leave it out.")])
