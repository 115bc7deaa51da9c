"""The backend "tensorflow": finds SavedModels and frozen graphs, makes sessions, and hands out instances of them."""

import logging
import threading
from typing import Any

from atoll.backends.api import Capabilities, GpuSupport, ModelSource, Placement
from atoll.backends.tensorflow.accelerators import read_accelerators
from atoll.backends.tensorflow.custom_operations import demand_operations, load_libraries
from atoll.backends.tensorflow.frozen_graph import parse_graph_def, read_graph_def
from atoll.backends.tensorflow.graph import ModelGraph, remembers, waits
from atoll.backends.tensorflow.instance import Bf16Instance, TensorFlowInstance
from atoll.backends.tensorflow.model_file import SAVED_MODEL, find_model
from atoll.backends.tensorflow.runtime import QUIET, import_tensorflow
from atoll.backends.tensorflow.saved_model import read_saved_model
from atoll.backends.tensorflow.session import ModelSession, make_session
from atoll.backends.tensorflow.settings import ModelSettings, model_settings
from atoll.config.signature import ModelSignature
from atoll.errors import ConfigError
from atoll.tensor import DataType

logger = logging.getLogger(__name__)


class TensorFlowBackend:
    """Serves model.savedmodel and model.graphdef. Parameters are those of Triton's backend of the same name; see
    `settings`. TensorFlow is imported with the first model.
    """

    name = "tensorflow"
    capabilities = Capabilities(bounded=True)
    default_model_filename = SAVED_MODEL
    default_instance_count = 1

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: dict[str, int] = {}

    def signature(self, source: ModelSource) -> ModelSignature:
        """What the file says. Raises ConfigError naming the file and the cause where it cannot be read."""
        return _read(source, model_settings(source)).signature

    def load(self, source: ModelSource) -> "TensorFlowModel":
        """Read the model. Raises ConfigError naming the file, or the parameter and what it may be."""
        settings = model_settings(source)
        accelerators = read_accelerators(source)
        graph = _read(source, settings)
        demand_operations(source, graph.path, graph.definition)
        self._warn_of_threads(source.name, settings)
        return TensorFlowModel(source, graph, settings, accelerators)

    def gpu_support(self, source: ModelSource, gpus: tuple[int, ...]) -> GpuSupport:
        """The GPUs that TensorFlow sees. Raises MissingExtraError."""
        del source
        module = import_tensorflow()
        if not module.test.is_built_with_gpu_support():
            return GpuSupport(
                missing=f"the installed TensorFlow {module.__version__} is built for CPUs only; install one with CUDA: "
                'pip install "tensorflow[and-cuda]"'
            )
        seen = len(module.config.list_physical_devices("GPU"))
        missing = ""
        if seen < len(gpus):
            missing = (
                f"TensorFlow sees {seen} of them: look at CUDA_VISIBLE_DEVICES, and at what it says with {QUIET}=0"
            )
        return GpuSupport(tuple(one for one in gpus if one < seen), missing)

    def _warn_of_threads(self, model: str, settings: ModelSettings) -> None:
        """Once made, TensorFlow's pools stay as they are: the first model's numbers count for the process."""
        wanted = {"TF_NUM_INTRA_THREADS": settings.intra_threads}
        if not settings.per_session_threads:
            wanted["TF_NUM_INTER_THREADS"] = settings.inter_threads
        with self._lock:
            for key, number in wanted.items():
                first = self._threads.setdefault(key, number)
                if number not in (0, first):
                    logger.warning(
                        "parameter '%s' of model '%s' is %d, but TensorFlow's pool is one for the process, and the "
                        "first model set it to %s: give all models the same, or this one a process of its own",
                        key,
                        model,
                        number,
                        first or "TensorFlow's own choice",
                    )


class TensorFlowModel:
    """The sessions that the instances of a model share; see docs/decisions/025-tensorflow-sessions.md."""

    def __init__(self, source: ModelSource, graph: ModelGraph, settings: ModelSettings, accelerators: Any):
        self._source = source
        self._settings = settings
        self._accelerators = accelerators
        self._graph: ModelGraph | None = graph  # until a session has it: it may hold all of the weights
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, int], list[ModelSession]] = {}
        self._shared: dict[tuple[str, int], int] = {}
        self.bounded = not waits(graph.operations)
        self._blame_values = not remembers(graph.operations)
        self.signature = graph.signature

    def instance(self, placement: Placement) -> TensorFlowInstance:
        """A context there. Raises ConfigError where the session cannot be made."""
        session = self._session(placement)
        tensors = (*self.signature.inputs, *self.signature.outputs)
        if any(one.data_type is DataType.BF16 for one in tensors):
            bfloat16 = import_tensorflow().bfloat16.as_numpy_dtype
            return Bf16Instance(session, self.signature, blame_values=self._blame_values, bfloat16=bfloat16)
        return TensorFlowInstance(session, self.signature, blame_values=self._blame_values)

    def close(self) -> None:
        """Free the sessions, and with them the weights."""
        self._graph = None
        for sessions in self._sessions.values():
            for session in sessions:
                session.close()
        self._sessions.clear()

    def _session(self, placement: Placement) -> ModelSession:
        where = placement.kind, placement.device_id
        with self._lock:
            sessions = self._sessions.setdefault(where, [])
            count = self._shared.get(where, 0)
            if not sessions or (self._settings.shared_by and count % self._settings.shared_by == 0):
                graph = self._graph or _read(self._source, self._settings)
                self._graph = None
                sessions.append(make_session(self._source, graph, self._settings, self._accelerators, placement))
            self._shared[where] = count + 1
            return sessions[-1]


def _read(source: ModelSource, settings: ModelSettings) -> ModelGraph:
    path, is_graph_def = find_model(source)
    load_libraries(source)
    if not is_graph_def:
        return read_saved_model(source, path, settings)
    if settings.signature or settings.tags:
        key = "TF_SIGNATURE_DEF" if settings.signature else "TF_GRAPH_TAG"
        raise ConfigError(
            f"model '{source.name}': parameter '{key}' is for SavedModels, and '{path}' is a frozen graph, which has "
            "no signatures and no tags; leave it out"
        )
    return read_graph_def(source, path, parse_graph_def(source, path), settings)
