"""Engines in a GPU's memory: read from their files, and freed."""

import ctypes
import mmap
from pathlib import Path
from typing import Any

from atoll.backends.model_kind import wrong_kind
from atoll.backends.tensorrt.engine import EngineDescription, describe
from atoll.backends.tensorrt.logger import HeardErrors, make_logger
from atoll.backends.tensorrt.settings import EngineSettings
from atoll.devices.cuda_driver import CudaError
from atoll.devices.cuda_stream import CudaDevice
from atoll.errors import ConfigError

OLDEST = (10, 1)


class LoadedEngine:
    """An engine on a GPU, shared by the instances there."""

    def __init__(self, tensorrt: Any, device: CudaDevice, runtime: Any, engine: Any, path: Path, heard: HeardErrors):
        self.tensorrt = tensorrt
        self.device = device
        self.heard = heard
        self.description: EngineDescription = describe(tensorrt, engine, path)
        self.engine = engine
        self._runtime = runtime

    def close(self) -> None:
        """Free it; its execution contexts are gone."""
        with self.device.current():
            del self.engine  # which must not outlive what made it
            del self._runtime


class TensorRt:
    """The library, with its plugins, for the process. Thread-safe. Raises ConfigError where it is too old."""

    def __init__(self, tensorrt: Any):
        version = tuple(int(part) for part in tensorrt.__version__.split(".")[:2])
        if version < OLDEST:
            raise ConfigError(
                f"the tensorrt backend needs TensorRT {'.'.join(map(str, OLDEST))} or later, but "
                f"{tensorrt.__version__} is installed: upgrade it, and build the engines anew"
            )
        self._tensorrt = tensorrt
        self._heard = HeardErrors()
        self._logger = make_logger(tensorrt, self._heard)
        self._plugins: list[ctypes.CDLL] = []
        self._unusable: list[Any] = []
        tensorrt.init_libnvinfer_plugins(self._logger, "")

    def load_plugins(self, options: EngineSettings) -> None:
        """Load the libraries that the operator names. Raises ConfigError where one cannot be."""
        for path in options.plugins:
            try:
                self._plugins.append(ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL))
            except OSError as error:
                raise ConfigError(
                    f"--backend-config=tensorrt,plugins: '{path}' cannot be loaded: {error}; build it for TensorRT "
                    f"{self._tensorrt.__version__}"
                ) from error

    def load(self, path: Path, device: CudaDevice, options: EngineSettings, dla_core: int | None) -> LoadedEngine:
        """Put the engine in that file onto that GPU. Raises ConfigError where the file is none, or of another GPU or
        version.
        """
        if path.stat().st_size == 0:
            raise ConfigError(f"cannot load '{path}'{wrong_kind(path, 'tensorrt')}")
        with device.current():
            runtime = self._runtime(options, dla_core, path)
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                engine = runtime.deserialize_cuda_engine(content)
            if engine is None:
                raise ConfigError(self._refused(path, device))
            return LoadedEngine(self._tensorrt, device, runtime, engine, path, self._heard)

    def _runtime(self, options: EngineSettings, dla_core: int | None, path: Path) -> Any:
        self._heard.take()
        runtime = self._tensorrt.Runtime(self._logger)
        if self._heard.any():
            # Seen with 10.16 and 11.4: where CUDA does not start, there is an object nevertheless, and using it, or
            # giving it up, crashes the process.
            self._unusable.append(runtime)
            raise ConfigError(
                f"cannot load '{path}': TensorRT {self._tensorrt.__version__} does not start: {self._heard.take()}; "
                "install a newer driver of the GPU, or the TensorRT for the driver's version of CUDA (tensorrt-cu12, "
                "tensorrt-cu13)"
            )
        if options.host_code:
            runtime.engine_host_code_allowed = True
        if dla_core is not None:
            if dla_core >= runtime.num_DLA_cores:
                raise ConfigError(
                    f"cannot load '{path}': instance_group.secondary_devices names the DLA core {dla_core}, but the "
                    f"GPU has {runtime.num_DLA_cores} of them"
                )
            runtime.DLA_core = dla_core
        return runtime

    def _refused(self, path: Path, device: CudaDevice) -> str:
        kind = wrong_kind(path, "tensorrt")
        if not kind:
            try:
                here = device.describe()
            except CudaError:
                here = f"GPU {device.number}"
            kind = (
                f"; an engine runs on the kind of GPU and with the version of TensorRT that it was built with, here "
                f"{here} and TensorRT {self._tensorrt.__version__}: build it here, such as with trtexec "
                "--onnx=model.onnx --saveEngine=model.plan, and look whether the file is whole"
            )
        return f"cannot load '{path}': {self._heard.take()}{kind}"
