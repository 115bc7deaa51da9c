"""The backend "openvino": finds model files, has them compiled for a device, and hands out instances."""

import threading
from typing import Any

from atoll.backends.api import Capabilities, ModelSource, Placement
from atoll.backends.openvino.errors import error_text, load_error
from atoll.backends.openvino.instance import OpenVinoInstance, PaddingInstance
from atoll.backends.openvino.model_file import DEFAULT_MODEL_FILENAME, find_model_file
from atoll.backends.openvino.preparation import PreparedModel, prepare
from atoll.backends.openvino.runtime import OpenVino, import_openvino
from atoll.backends.openvino.settings import (
    ModelSettings,
    device_properties,
    find_extension,
    model_settings,
    property_error,
)
from atoll.config.signature import ModelSignature
from atoll.errors import ConfigError


class OpenVinoBackend:
    """Serves model.xml with model.bin, and other files that OpenVINO reads. Its parameters are in `settings`."""

    name = "openvino"
    capabilities = Capabilities(bounded=True)
    default_model_filename = DEFAULT_MODEL_FILENAME
    default_instance_count = 2  # see docs/decisions/026-openvino-instances.md

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._core: Any = None

    def signature(self, source: ModelSource) -> ModelSignature:
        """What the file says. Raises ConfigError naming the file and the cause where it cannot be read."""
        openvino = import_openvino()
        settings = model_settings(source)
        prepared = prepare(
            openvino, self._core_for(openvino, source, settings), source, find_model_file(source), settings
        )
        return prepared.signature

    def load(self, source: ModelSource) -> "OpenVinoModel":
        """Compile the model. Raises ConfigError naming the file, or the parameter and what it may be."""
        openvino = import_openvino()
        settings = model_settings(source)
        core = self._core_for(openvino, source, settings)
        path = find_model_file(source)
        properties = device_properties(core, source, settings)
        if settings.device == "CPU" and not {"NUM_STREAMS", "PERFORMANCE_HINT"} & properties.keys():
            streams = sum(group.count for group in source.config.instance_group)
            if streams:
                properties["NUM_STREAMS"] = str(streams)
        prepared = prepare(openvino, core, source, path, settings)
        try:
            compiled = core.compile_model(prepared.model, settings.device, properties)
        except Exception as error:
            wrong = property_error(core, source, settings, error)
            cause = f"it cannot be compiled for device {settings.device}: {error_text(error)}"
            raise wrong or load_error(source, path, cause) from error
        return OpenVinoModel(openvino, compiled, prepared, settings.device)

    def _core_for(self, openvino: OpenVino, source: ModelSource, settings: ModelSettings) -> Any:
        """One for all models, but for those that bring operations of their own: nobody else is to have these."""
        extension = find_extension(source, settings)
        if extension is None:
            with self._lock:
                if self._core is None:
                    self._core = openvino.new_core()
                return self._core
        core = openvino.new_core()
        try:
            core.add_extension(str(extension))
        except Exception as error:
            raise load_error(
                source,
                extension,
                error_text(error),
                f"CPU_EXTENSION_PATH must name a library of operations that was built for OpenVINO {openvino.version}",
            ) from error
        return core


class OpenVinoModel:
    """A model compiled for a device, which all of its instances share: each has an infer request of its own.

    `bounded`: on a CPU alone; other devices have queues of their own, which a request may have to wait for.
    """

    def __init__(self, openvino: OpenVino, compiled: Any, prepared: PreparedModel, device: str):
        self._openvino = openvino
        self._compiled = compiled
        self._ports = prepared.ports
        self.signature = prepared.signature
        self._batch = prepared.batch
        self.bounded = device == "CPU"

    def instance(self, placement: Placement) -> OpenVinoInstance:
        """A context there. Raises ConfigError for a placement on a GPU: in Triton's terms that is one of NVIDIA's."""
        if placement.kind == "KIND_GPU":
            raise ConfigError(
                f"instance '{placement.name}': OpenVINO runs on no NVIDIA GPU, which KIND_GPU stands for; use kind: "
                "KIND_CPU in its instance_group, and for an Intel GPU the parameter TARGET_DEVICE with GPU"
            )
        request = self._compiled.create_infer_request()
        if self._batch:
            return PaddingInstance(self._openvino, request, self._ports, self._batch)
        return OpenVinoInstance(self._openvino, request, self._ports)

    def close(self) -> None:
        """Free the compiled model, and with it the weights and the threads."""
        del self._compiled
