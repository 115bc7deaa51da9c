"""The backend "tensorrt": finds engine files, puts them onto GPUs, and hands out instances of them."""

import os
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atoll.backends.api import Capabilities, GpuSupport, ModelSource, Placement
from atoll.backends.model_path import model_path
from atoll.backends.runtime import import_runtime
from atoll.backends.tensorrt.instance import TensorRtInstance
from atoll.backends.tensorrt.loading import LoadedEngine, TensorRt
from atoll.backends.tensorrt.profiles import configured_profiles
from atoll.backends.tensorrt.settings import dla_core, engine_settings, groups_of, run_settings
from atoll.backends.tensorrt.signature import check_batch, check_served, signature_of
from atoll.config.model_config import ModelConfig, ModelInstanceGroup
from atoll.config.signature import ModelSignature
from atoll.devices.cuda_driver import CudaError
from atoll.devices.cuda_stream import CudaDevice
from atoll.devices.gpus import visible_gpus
from atoll.errors import ConfigError, InternalError, UnavailableError

DEFAULT_MODEL_FILENAME = "model.plan"
_Key = tuple[int, int | None]  # a GPU's number, and the DLA core


class TensorRtBackend:
    """Serves model.plan. Parameters and defaults are those of Triton's backend of the same name; see `settings`."""

    name = "tensorrt"
    capabilities = Capabilities()
    default_model_filename = DEFAULT_MODEL_FILENAME
    default_instance_count = 1

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library: TensorRt | None = None

    def signature(self, source: ModelSource) -> ModelSignature:
        """What the engine says. Raises ConfigError naming the file and the cause where it cannot be loaded."""
        path = model_path(source, DEFAULT_MODEL_FILENAME)
        group = next(iter(source.config.instance_group), ModelInstanceGroup())
        loaded = self._load(source, path, (group.gpus or (0,))[0], dla_core(group))
        try:
            check_served(source.config, loaded.description, path)
            return signature_of(loaded.description, _profiles(source.config, group, loaded))
        finally:
            loaded.close()

    def load(self, source: ModelSource) -> "TensorRtModel":
        """Put the engine onto the GPUs of the instance groups.

        In the process of a single instance, which sees one of these GPUs as number 0, it may be put there only by
        `instance`.
        """
        path = model_path(source, DEFAULT_MODEL_FILENAME)
        visible = _visible(source)
        model = TensorRtModel(self, source, path)
        try:
            for group in source.config.instance_group:
                if group.kind is ModelInstanceGroup.Kind.KIND_GPU:
                    for number in set(group.gpus or (0,)).intersection(visible):
                        model.check(group, number)
        except BaseException:
            model.close()
            raise
        return model

    def gpu_support(self, source: ModelSource, gpus: tuple[int, ...]) -> GpuSupport:
        """All of them. Raises MissingExtraError where TensorRT is not installed."""
        _import_tensorrt()
        return GpuSupport(gpus)

    def _load(self, source: ModelSource, path: Path, number: int, core: int | None) -> LoadedEngine:
        _visible(source)
        options = engine_settings(source)
        with self._lock:
            if self._library is None:
                library = TensorRt(_import_tensorrt())
                library.load_plugins(options)
                self._library = library
            library = self._library
        try:
            return library.load(path, CudaDevice(number), options, core)
        except CudaError as error:
            raise UnavailableError(f"model '{source.name}': GPU {number} cannot be used: {error}") from error

    def load_engine(self, source: ModelSource, path: Path, key: _Key) -> LoadedEngine:
        """The engine on a GPU. Raises ConfigError where it is not as the configuration says."""
        loaded = self._load(source, path, *key)
        try:
            check_served(source.config, loaded.description, path)
        except BaseException:
            loaded.close()
            raise
        return loaded


class TensorRtModel:
    """The engine on each GPU, and DLA core, that instances of the model are on: those of one share it. Thread-safe."""

    def __init__(self, backend: TensorRtBackend, source: ModelSource, path: Path):
        self._backend = backend
        self._source = source
        self._path = path
        self._lock = threading.Lock()
        self._engines: dict[_Key, LoadedEngine] = {}
        self.signature: ModelSignature | None = None  # until an engine is loaded
        self._groups: Mapping[str, ModelInstanceGroup] = groups_of(source.config)

    def check(self, group: ModelInstanceGroup, number: int) -> tuple[LoadedEngine, tuple[int, ...]]:
        """The engine for a group's instances on a GPU, and their profiles. Raises ConfigError where the group asks for
        what the engine has not.
        """
        key = (number, dla_core(group))
        with self._lock:
            loaded = self._engines.get(key)
            if loaded is None:
                loaded = self._engines[key] = self._backend.load_engine(self._source, self._path, key)
        config: ModelConfig = self._source.config
        profiles = _profiles(config, group, loaded)
        check_batch(config, loaded.description, profiles)
        if self.signature is None:
            self.signature = signature_of(loaded.description, profiles)
        return loaded, profiles

    def instance(self, placement: Placement) -> TensorRtInstance:
        """An instance on a GPU. Raises ConfigError for any other placement."""
        if placement.kind != "KIND_GPU":
            raise ConfigError(
                f"unable to load model '{self._source.name}', TensorRT backend supports only GPU device: instance "
                f"'{placement.name}' is {placement.kind}; use kind: KIND_GPU in its instance_group"
            )
        loaded, profiles = self.check(self._group(placement), placement.device_id)
        try:
            return TensorRtInstance(loaded, self._source.config, profiles, run_settings(self._source.config))
        except CudaError as error:
            raise InternalError(f"model '{self._source.name}': no instance '{placement.name}': {error}") from error

    def close(self) -> None:
        """Free the engines."""
        with self._lock:
            while self._engines:
                self._engines.popitem()[1].close()

    def _group(self, placement: Placement) -> ModelInstanceGroup:
        return self._groups.get(placement.name.rsplit("_", 2)[0], ModelInstanceGroup())


def _visible(source: ModelSource) -> tuple[int, ...]:
    """The GPUs that this process may use. Raises UnavailableError where there is none."""
    numbers = visible_gpus(os.environ)
    if not numbers:
        raise UnavailableError(
            f"model '{source.name}': the tensorrt backend needs an NVIDIA GPU: none is visible to this process "
            "(see CUDA_VISIBLE_DEVICES, TRITON_SERVER_CPU_ONLY, and in a container its option for GPUs)"
            + ("" if _is_installed() else '; nor is TensorRT installed: pip install "atoll[tensorrt]"')
        )
    return numbers


def _is_installed() -> bool:
    try:
        return find_spec("tensorrt") is not None
    except ValueError:  # it is imported, but not from a package
        return True


def _profiles(config: ModelConfig, group: ModelInstanceGroup, loaded: LoadedEngine) -> tuple[int, ...]:
    where = f"instance group '{group.name}' of model '{config.name}'"
    return configured_profiles(group.profile, len(loaded.description.profiles), where)


def _import_tensorrt() -> Any:
    return import_runtime("tensorrt", backend="tensorrt", library="TensorRT", extra="tensorrt")
