"""The backend "onnxruntime": finds ONNX files, makes sessions, and hands out instances of them."""

import importlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atoll.backends.api import Capabilities, ModelSource, Placement
from atoll.backends.onnxruntime.instance import ConvertingInstance, OnnxInstance, Tensors
from atoll.backends.onnxruntime.model_file import DEFAULT_MODEL_FILENAME, find_model_file, load_error
from atoll.backends.onnxruntime.options import SessionSettings, session_options, session_settings
from atoll.backends.onnxruntime.signature import signature_of
from atoll.backends.onnxruntime.types import data_type_of
from atoll.config.autofill import ModelSignature
from atoll.errors import ConfigError, MissingExtraError
from atoll.tensor import DataType

PROVIDERS = ["CPUExecutionProvider"]
GLOBAL_THREADS_SINCE = "1.23"
SPINNING_SESSIONS = 2  # for each processor; the threads of further ones rest between two pieces of work
FATAL = 4  # ONNX Runtime's levels of logging run from 0, verbose, to this


class OnnxRuntimeBackend:
    """Serves model.onnx. Parameters and defaults are those of Triton's backend of the same name; see `options`."""

    name = "onnxruntime"
    capabilities = Capabilities(bounded=True)
    default_model_filename = DEFAULT_MODEL_FILENAME
    default_instance_count = 2

    def __init__(self) -> None:
        """Import ONNX Runtime. Raises MissingExtraError where it is not installed."""
        self._onnxruntime = _import_onnxruntime()
        self._lock = threading.Lock()
        self._has_global_threads = False
        self._live_sessions = 0

    def signature(self, source: ModelSource) -> ModelSignature:
        """What the file says. Raises ConfigError naming the file and the cause where it cannot be read."""
        path = find_model_file(source)
        # Without optimizations, which change no input or output and take most of a load's time, and with one thread.
        wanted = session_settings(source)
        shared = wanted.global_threads  # with a pool for all, no session may have its own
        if shared:
            self._make_global_threads(wanted)
        settings = SessionSettings(graph_level="ORT_DISABLE_ALL", intra_op_thread_count=1, global_threads=shared)
        return signature_of(self._session(source, path, settings, log_level=FATAL), path)

    def load(self, source: ModelSource) -> "OnnxModel":
        """Make the model's session. Raises ConfigError naming the file, or the parameter and what it may be."""
        path = find_model_file(source)
        settings = session_settings(source)
        if settings.global_threads:
            self._make_global_threads(settings)
        for accelerator in _cpu_accelerators(source):
            raise ConfigError(
                f"model '{source.name}': cpu_execution_accelerator '{accelerator}' is not available; "
                "remove it from optimization.execution_accelerators in config.pbtxt"
            )
        with self._lock:
            crowded = self._live_sessions >= SPINNING_SESSIONS * (os.cpu_count() or 1)
        if crowded:
            settings = settings.resting()
        session = self._session(source, path, settings)
        _refuse_strings_into_bf16(source, session)
        with self._lock:
            self._live_sessions += 1
        return OnnxModel(self._onnxruntime, session, settings, self._closed)

    def _closed(self) -> None:
        with self._lock:
            self._live_sessions -= 1

    def _session(self, source: ModelSource, path: Path, settings: SessionSettings, log_level: int | None = None) -> Any:
        options = session_options(self._onnxruntime, settings)
        if log_level is not None:
            options.log_severity_level = log_level
        libraries = _operator_libraries(source)
        try:
            for library in libraries:
                options.register_custom_ops_library(str(library))
            # No fallback: it would print, and try the same again.
            return self._onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS, enable_fallback=False)
        except Exception as error:
            raise load_error(source, path, error) from error

    def _make_global_threads(self, settings: SessionSettings) -> None:
        with self._lock:
            if not hasattr(self._onnxruntime, "set_global_thread_pool_sizes"):
                raise ConfigError(
                    f"--backend-config=onnxruntime,enable-global-threadpool=1 needs ONNX Runtime "
                    f"{GLOBAL_THREADS_SINCE}, but {self._onnxruntime.__version__} is installed: upgrade it, or leave "
                    "the setting out"
                )
            if not self._has_global_threads:
                # Once a process: the sizes are those of the first model, and --backend-config gives all the same.
                self._onnxruntime.set_global_thread_pool_sizes(
                    settings.intra_op_thread_count, settings.inter_op_thread_count
                )
                self._has_global_threads = True


class OnnxModel:
    """One session, which all instances of the model share; see docs/decisions/004-onnxruntime-sessions.md."""

    def __init__(self, onnxruntime: Any, session: Any, settings: SessionSettings, closed: Callable[[], None]):
        self._onnxruntime = onnxruntime
        self._session = session
        self._settings = settings
        self._closed = closed
        self._inputs = _tensors(session.get_inputs())
        self._outputs = _tensors(session.get_outputs())
        used = {*self._inputs.values(), *self._outputs.values()}
        self._converting = not used.isdisjoint((DataType.BYTES, DataType.BF16))

    def instance(self, placement: Placement) -> OnnxInstance:
        """A context on the CPU. Raises ConfigError for any other placement."""
        if placement.kind == "KIND_GPU":
            raise ConfigError(
                f"instance '{placement.name}': the onnxruntime backend runs on the CPU only; "
                "use kind: KIND_CPU in its instance_group"
            )
        run_options = self._run_options()
        if self._converting:
            return ConvertingInstance(self._onnxruntime, self._session, run_options, self._inputs, self._outputs)
        return OnnxInstance(self._onnxruntime, self._session, run_options)

    def close(self) -> None:
        """Free the session, and with it the weights and the threads."""
        del self._session
        self._closed()

    def _run_options(self) -> Any:
        options = self._onnxruntime.RunOptions()
        # A failing run raises what it would also print, and a client could otherwise fill the log.
        options.log_severity_level = FATAL
        if self._settings.arena_shrinkage:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", self._settings.arena_shrinkage)
        return options


def _import_onnxruntime() -> Any:
    if "onnxruntime" not in sys.modules:
        # From 1.31 on, Linux builds send usage events to their maker unless told not to. Whoever sets the variable, or
        # imports ONNX Runtime before us, decides for himself.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError(
            f"the onnxruntime backend needs ONNX Runtime, which cannot be imported ({error}); "
            'install it with: pip install "atoll[onnxruntime]"'
        ) from error


def _tensors(arguments: Any) -> Tensors:
    found = ((one.name, data_type_of(one.type)) for one in arguments)
    return {name: datatype for name, datatype in found if datatype is not None}


def _refuse_strings_into_bf16(source: ModelSource, session: Any) -> None:
    # BF16 comes out of bindings alone, and the Python interface cannot bind strings to an input.
    strings = [name for name, one in _tensors(session.get_inputs()).items() if one is DataType.BYTES]
    bf16 = [name for name, one in _tensors(session.get_outputs()).items() if one is DataType.BF16]
    if strings and bf16:
        raise ConfigError(
            f"model '{source.name}': input '{strings[0]}' is of strings and output '{bf16[0]}' is BF16, which ONNX "
            "Runtime's Python interface cannot do in one model; cast the output to FP32 inside the model"
        )


def _cpu_accelerators(source: ModelSource) -> list[str]:
    policy = source.config.optimization
    if policy is None or policy.execution_accelerators is None:
        return []
    return [one.name for one in policy.execution_accelerators.cpu_execution_accelerator]


def _operator_libraries(source: ModelSource) -> list[Path]:
    names = source.config.model_operations.op_library_filename if source.config.model_operations else ()
    libraries = []
    for name in names:
        found = [one for one in (source.version_directory / name, source.model_directory / name) if one.is_file()]
        if not found:
            raise ConfigError(
                f"model '{source.name}': model_operations.op_library_filename names '{name}', "
                f"which is neither in '{source.version_directory}' nor in '{source.model_directory}'"
            )
        libraries.append(found[0])
    return libraries
