"""The backend "onnxruntime": finds ONNX files and has them loaded, on the devices that their configurations name."""

import logging
import os
import sys
import threading
from typing import Any

from atoll.backends.api import Capabilities, GpuSupport, ModelSource
from atoll.backends.onnxruntime.accelerators import accelerators_of
from atoll.backends.onnxruntime.model import Device, OnnxModel
from atoll.backends.onnxruntime.model_file import DEFAULT_MODEL_FILENAME, find_model_file
from atoll.backends.onnxruntime.optimized_models import optimized_models
from atoll.backends.onnxruntime.providers import gpu_provider, gpu_support
from atoll.backends.onnxruntime.sessions import Sessions
from atoll.backends.onnxruntime.settings import session_settings
from atoll.backends.onnxruntime.signature import signature_of
from atoll.backends.parameters import Parameters
from atoll.backends.runtime import import_runtime
from atoll.config.signature import ModelSignature

logger = logging.getLogger(__name__)


class OnnxRuntimeBackend:
    """Serves model.onnx. Parameters and defaults are those of Triton's backend of the same name; see `settings`."""

    name = "onnxruntime"
    capabilities = Capabilities(bounded=True)
    default_model_filename = DEFAULT_MODEL_FILENAME
    default_instance_count = 2

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._imported: tuple[Any, Sessions] | None = None

    def signature(self, source: ModelSource) -> ModelSignature:
        """What the file says. Raises ConfigError naming the file and the cause where it cannot be read."""
        path = find_model_file(source)
        settings = session_settings(source)
        _, sessions = self._runtime()
        if settings.global_threads:
            sessions.share_threads(settings)
        return signature_of(sessions.look_into(source, path, settings), path)

    def load(self, source: ModelSource) -> OnnxModel:
        """Make the model's sessions. Raises ConfigError naming the file, or the parameter and what it may be."""
        path = find_model_file(source)
        settings = session_settings(source)
        accelerators = accelerators_of(source.config.optimization, Parameters(source), source.name)
        for option in accelerators.left_out:
            logger.warning(
                "model '%s': %s is left out: recorded kernels read the same addresses every time, and each request's "
                "tensors are elsewhere",
                source.name,
                option,
            )
        kept = optimized_models(source.settings)
        onnxruntime, sessions = self._runtime()
        if settings.global_threads:
            sessions.share_threads(settings)

        def make(device: Device) -> Any:
            if device is None:
                providers = accelerators.on_cpu()
            else:
                providers = accelerators.on_gpu(device, gpu_provider(onnxruntime))
            return sessions.make(source, path, settings, providers, kept)

        return OnnxModel(onnxruntime, source, path, settings, make, sessions.closed)

    def gpu_support(self, source: ModelSource, gpus: tuple[int, ...]) -> GpuSupport:
        """All of them, if the installed package of ONNX Runtime can use any. Raises MissingExtraError."""
        return gpu_support(self._runtime()[0], gpus)

    def _runtime(self) -> tuple[Any, Sessions]:
        """ONNX Runtime, imported when a model needs it first. Raises MissingExtraError where it is not installed."""
        with self._lock:
            if self._imported is None:
                if "onnxruntime" not in sys.modules:
                    # From 1.31 on, Linux builds send usage events to their maker unless told not to. Whoever sets the
                    # variable, or imports ONNX Runtime before us, decides for himself.
                    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
                module = import_runtime(
                    "onnxruntime", backend="onnxruntime", library="ONNX Runtime", extra="onnxruntime"
                )
                self._imported = module, Sessions(module)
            return self._imported
