"""Makes ONNX Runtime's sessions: one for each device that a model has instances on."""

import ctypes
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.model_path import operation_libraries
from atoll.backends.onnxruntime.accelerators import CPU, Provider
from atoll.backends.onnxruntime.model_file import ONLY_ELSEWHERE, load_error
from atoll.backends.onnxruntime.optimized_models import OptimizedModels, has_external_data
from atoll.backends.onnxruntime.providers import (
    NoProviderError,
    demand_providers,
    demand_started,
    failure_to_start,
    gpu_provider,
    load_libraries,
)
from atoll.backends.onnxruntime.settings import AS_IT_IS, SessionSettings, session_options
from atoll.errors import ConfigError

GLOBAL_THREADS_SINCE = "1.23"
SPINNING_SESSIONS = 2  # for each processor; the threads of further ones rest between two pieces of work
ERROR, FATAL = 3, 4  # ONNX Runtime's levels of logging run from 0, verbose

logger = logging.getLogger(__name__)


class Sessions:
    """Of one process: it knows how many there are, and whether they share their threads. Thread-safe."""

    def __init__(self, onnxruntime: Any):
        self._onnxruntime = onnxruntime
        self._lock = threading.Lock()
        self._has_global_threads = False
        self._live = 0

    def make(
        self,
        source: ModelSource,
        path: Path,
        settings: SessionSettings,
        providers: Sequence[Provider],
        kept: OptimizedModels | None = None,
    ) -> Any:
        """A session that counts until `closed`. `kept` has graphs of sessions on the CPU.

        Raises ConfigError naming the file or the option at fault, NoProviderError where one of them cannot be had.
        """
        with self._lock:
            crowded = self._live >= SPINNING_SESSIONS * (os.cpu_count() or 1)
        if crowded:
            settings = settings.resting()
        if kept is None or tuple(providers) != (CPU,) or settings.graph_level == AS_IT_IS:
            session = self._make(source, path, settings, providers)
        else:
            session = self._make_kept(source, path, settings, kept)
        with self._lock:
            self._live += 1
        return session

    def closed(self) -> None:
        """One of them is gone."""
        with self._lock:
            self._live -= 1

    def look_into(self, source: ModelSource, path: Path, settings: SessionSettings) -> Any:
        """A session that tells of inputs and outputs and is not run: without optimizations, which change none of them
        and take most of a load's time, and with one thread; on the CPU, unless there are operators that only a GPU has.

        Raises ConfigError naming the file.
        """
        shared = settings.global_threads  # with a pool for all, no session may have its own
        look = SessionSettings(graph_level=AS_IT_IS, intra_op_thread_count=0 if shared else 1, global_threads=shared)
        try:
            return self._make(source, path, look, (CPU,), log_level=FATAL)
        except ConfigError as error:
            gpu = gpu_provider(self._onnxruntime)
            if ONLY_ELSEWHERE not in str(error) or gpu not in self._onnxruntime.get_available_providers():
                raise
            return self._make(source, path, look, (Provider(gpu), CPU), log_level=FATAL)

    def share_threads(self, settings: SessionSettings) -> None:
        """Make the pool of threads that all sessions share, unless there is one. Raises ConfigError."""
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

    def _make_kept(self, source: ModelSource, path: Path, settings: SessionSettings, kept: OptimizedModels) -> Any:
        """As `_make`, from the graph that an earlier load has optimized, or leaving this one for a later load."""
        try:
            facts = [self._onnxruntime.__version__, *settings.graph_facts()]
            if has_external_data(path):
                return self._make(source, path, settings, (CPU,))
            key = kept.key([path, *operation_libraries(source)], facts)
            entry = kept.find(key)
        except OSError as error:
            logger.warning("model '%s': its optimized graph is not kept: %s", source.name, error)
            return self._make(source, path, settings, (CPU,))
        if entry is not None:
            try:
                return self._make(source, entry, settings.as_it_is(), (CPU,))
            except (ConfigError, OSError) as error:  # the latter where another server has removed it just now
                logger.warning("model '%s': its optimized graph is made again: %s", source.name, error)
                kept.drop(entry)
        session = None
        try:
            with kept.making(key) as made:
                session = self._make(source, path, settings, (CPU,), log_level=ERROR, optimized=made)
        except OSError as error:
            logger.warning("model '%s': its optimized graph is not kept: %s", source.name, error)
        return session if session is not None else self._make(source, path, settings, (CPU,))

    def _make(
        self,
        source: ModelSource,
        path: Path,
        settings: SessionSettings,
        providers: Sequence[Provider],
        *,
        log_level: int | None = None,
        optimized: Path | None = None,
    ) -> Any:
        demand_providers(self._onnxruntime, providers)
        load_libraries(self._onnxruntime, providers)
        options = session_options(self._onnxruntime, settings)
        if log_level is not None:
            options.log_severity_level = log_level
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        libraries = operation_libraries(source)
        try:
            for library in libraries:
                options.register_custom_ops_library(str(library))
                # It is never unmapped: ONNX Runtime unmaps it with its last session, and what C++ keeps once for all
                # copies of a library (two models may each have one) would be gone for the others.
                ctypes.CDLL(str(library))
            # No fallback: it would print, and try the same again.
            session = self._onnxruntime.InferenceSession(
                str(path),
                options,
                providers=[one.name for one in providers],
                provider_options=[dict(one.options) for one in providers],
                enable_fallback=False,
            )
        except Exception as error:
            failure = failure_to_start(self._onnxruntime, providers, error)
            if failure:
                raise NoProviderError(failure) from error
            raise load_error(source, path, error) from error
        demand_started(self._onnxruntime, providers, session)
        return session
