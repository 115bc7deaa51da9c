"""Which execution providers the installed ONNX Runtime has, and what is said where one is missing or does not start.

Each package of ONNX Runtime is the same module built with other providers, so only one of them can be installed.
"""

import ctypes
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from atoll.backends.api import GpuSupport
from atoll.backends.onnxruntime.accelerators import (
    CUDA_PROVIDER,
    GPU_PROVIDERS,
    MIGRAPHX_PROVIDER,
    OPENVINO_PROVIDER,
    ROCM_PROVIDER,
    TENSORRT_PROVIDER,
    Provider,
)
from atoll.errors import ConfigError

# The accelerator's name in a configuration, and the package.
_PACKAGES = {
    CUDA_PROVIDER: ("cuda", "onnxruntime-gpu"),
    TENSORRT_PROVIDER: ("tensorrt", "onnxruntime-gpu"),
    OPENVINO_PROVIDER: ("openvino", "onnxruntime-openvino"),
    MIGRAPHX_PROVIDER: ("migraphx", "onnxruntime-migraphx"),
    ROCM_PROVIDER: ("rocm", "onnxruntime-rocm"),
}
_LIBRARIES = {CUDA_PROVIDER: "cuda", TENSORRT_PROVIDER: "tensorrt"}
_LIBRARIES_OF_CUDA = 'pip install "onnxruntime-gpu[cuda,cudnn]"'
_LIBRARIES_OF = {CUDA_PROVIDER: _LIBRARIES_OF_CUDA, TENSORRT_PROVIDER: f"{_LIBRARIES_OF_CUDA} tensorrt"}


class NoProviderError(ConfigError):
    """An execution provider is not installed, or does not start."""


def gpu_provider(onnxruntime: Any) -> str:
    """The one that runs models on GPUs; CUDA's where there is none."""
    available = onnxruntime.get_available_providers()
    return next((one for one in GPU_PROVIDERS if one in available), CUDA_PROVIDER)


def gpu_support(onnxruntime: Any, gpus: tuple[int, ...]) -> GpuSupport:
    """All of the GPUs, if the package can use any."""
    if any(one in onnxruntime.get_available_providers() for one in GPU_PROVIDERS):
        return GpuSupport(gpus)
    return GpuSupport((), _missing(onnxruntime, CUDA_PROVIDER))


def demand_providers(onnxruntime: Any, wanted: Sequence[Provider]) -> None:
    """Raises NoProviderError where these are not all installed, which says what package has the first that is not."""
    available = onnxruntime.get_available_providers()
    for one in wanted:
        if one.name not in available:
            raise NoProviderError(_missing(onnxruntime, one.name))


def demand_started(onnxruntime: Any, wanted: Sequence[Provider], session: Any) -> None:
    """Raises NoProviderError where a session runs without some of these: ONNX Runtime itself goes on with the CPU and
    writes a line to stderr.
    """
    started = session.get_providers()
    for one in wanted:
        if one.name not in started:
            raise NoProviderError(f"{_named(one.name)} did not start{_why(onnxruntime, one.name)}")


def load_libraries(onnxruntime: Any, wanted: Sequence[Provider]) -> None:
    """Have NVIDIA's libraries found that were installed with pip, where a provider needs them."""
    if hasattr(onnxruntime, "preload_dlls") and any(one.name in _LIBRARIES for one in wanted):
        with redirect_stdout(io.StringIO()):  # it prints what it does not find, which is said better below
            onnxruntime.preload_dlls(directory="")


def failure_to_start(onnxruntime: Any, wanted: Sequence[Provider], error: Exception) -> str:
    """What an error of making a session says of a provider that does not start; "" where it is of something else."""
    if "Please install TensorRT" in str(error) and any(one.name == TENSORRT_PROVIDER for one in wanted):
        return f"{_named(TENSORRT_PROVIDER)} did not start{_why(onnxruntime, TENSORRT_PROVIDER)}"
    return ""


def _missing(onnxruntime: Any, provider: str) -> str:
    _, package = _PACKAGES[provider]
    there = ", ".join(onnxruntime.get_available_providers())
    installed = getattr(onnxruntime, "package_name", "onnxruntime")
    return (
        f"the installed {installed} {onnxruntime.__version__} has no {_named(provider)}, only {there}; the package "
        f"{package} has it and takes its place: pip uninstall -y {installed}, then pip install {package}"
    )


def _named(provider: str) -> str:
    return f"{provider} ('{_PACKAGES[provider][0]}' among accelerators)"


def _why(onnxruntime: Any, provider: str) -> str:
    """Only where ONNX Runtime has tried: a provider's library that is loaded before its own would not find it."""
    if provider in _LIBRARIES:
        name = f"libonnxruntime_providers_{_LIBRARIES[provider]}.so"
        try:
            ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / name))
        except OSError as error:
            if "cannot open shared object file" in str(error):
                return f": {error}; install what it needs ({_LIBRARIES_OF[provider]}) or add it to LD_LIBRARY_PATH"
    return ": an option or the device may be wrong; what ONNX Runtime itself says of it is in the server's stderr"
