"""A session with a model's graph in it, and the callables that run parts of it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Any

from atoll.backends.api import ModelSource, Placement
from atoll.backends.tensorflow.accelerators import Accelerator, apply_accelerators
from atoll.backends.tensorflow.errors import error_text
from atoll.backends.tensorflow.graph import ModelGraph
from atoll.backends.tensorflow.model_file import load_error
from atoll.backends.tensorflow.runtime import dismantle, import_tensorflow, submodule
from atoll.backends.tensorflow.settings import ModelSettings
from atoll.errors import ConfigError
from atoll.tensor import Array

MAX_CALLABLES = 16  # each is a graph of its own, pruned to what it fetches; clients choose the outputs
Run = Callable[..., Sequence[Array]]


class ModelSession:
    """One session, which any number of instances may share. Thread-safe.

    What is not fetched is not computed: there is a callable for each set of outputs that is asked for.
    """

    def __init__(self, session: Any, graph: ModelGraph, settings: ModelSettings):
        self._session = session
        self._feeds = graph.feeds
        self._fetches = graph.fetches
        self._pool = -1 if settings.in_callers_thread else 0
        self._lock = threading.Lock()
        self._callables: OrderedDict[tuple[tuple[str, ...], tuple[str, ...]], Run] = OrderedDict()

    def run_of(self, inputs: tuple[str, ...], wanted: Collection[str]) -> tuple[Run, tuple[str, ...]]:
        """What takes arrays of these inputs, in that order, and gives those of the outputs that come with it: the
        wanted ones, or all where there have been too many different wishes.
        """
        outputs = tuple(one for one in self._fetches if one in wanted)
        with self._lock:
            if (inputs, outputs) not in self._callables and len(self._callables) >= MAX_CALLABLES:
                outputs = tuple(self._fetches)
            key = inputs, outputs
            if key not in self._callables:
                while len(self._callables) >= MAX_CALLABLES:
                    self._callables.popitem(last=False)
                self._callables[key] = self._made(inputs, outputs)
            return self._callables[key], outputs

    def close(self) -> None:
        """Free the variables and the graph."""
        self._callables.clear()
        _close(self._session)
        del self._session

    def _made(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Run:
        options = submodule("core.protobuf.config_pb2").CallableOptions()
        options.feed.extend(self._feeds[one] for one in inputs)
        options.fetch.extend(self._fetches[one] for one in outputs)
        options.run_options.inter_op_thread_pool = self._pool
        # Not `Session.run` or `make_callable`, which look at all arguments in Python: 180 us where this takes 10.
        made: Run = self._session._make_callable_from_options(options)  # noqa: SLF001
        return made


def make_session(
    source: ModelSource,
    graph: ModelGraph,
    settings: ModelSettings,
    accelerators: tuple[Accelerator, ...],
    placement: Placement,
) -> ModelSession:
    """Put the graph into a session there, with its variables and tables. Raises ConfigError naming the cause."""
    module = import_tensorflow()
    config = session_config(module, settings, placement)
    apply_accelerators(accelerators, config, model=source.name, kind=placement.kind)
    if settings.jit_compile and not any("_XlaMustCompile" in node.attr for node in graph.definition.node):
        config.graph_options.optimizer_options.global_jit_level = 2  # there is no call that could be compiled whole
    if placement.kind == "KIND_GPU":
        for node in graph.definition.node:
            node.device = node.device or f"/device:GPU:{placement.device_id}"
    own = module.Graph()
    session = module.compat.v1.Session(graph=own, config=config)
    try:
        with own.as_default():
            graph.restore(session)
        _initialize(source, session, settings.init_ops)
        made = ModelSession(session, graph, settings)
        # What most requests want, optimized and placed on its device now rather than for the first of them.
        fed = {one.name for one in source.config.input}
        made.run_of(tuple(one for one in graph.feeds if one in fed), [one.name for one in source.config.output])
    except Exception as error:
        _close(session)
        raise load_error(source, graph.path, error, _advice(graph, error)) from error
    return made


def session_config(module: Any, settings: ModelSettings, placement: Placement) -> Any:
    """The ConfigProto of a session there."""
    config = module.compat.v1.ConfigProto()
    config.intra_op_parallelism_threads = settings.intra_threads
    config.inter_op_parallelism_threads = settings.inter_threads
    config.use_per_session_threads = settings.per_session_threads
    config.allow_soft_placement = settings.allow_soft_placement
    level = settings.xla_level
    if level:
        config.graph_options.optimizer_options.global_jit_level = level  # OptimizerOptions.OFF is -1
    if placement.kind == "KIND_CPU":
        config.device_count["GPU"] = 0  # or else it takes memory on each of them
    elif settings.gpu_memory_fraction > 0:
        config.gpu_options.per_process_gpu_memory_fraction = settings.gpu_memory_fraction
    else:
        config.gpu_options.allow_growth = True  # without it, TensorFlow takes all of a GPU's memory
    return config


def _initialize(source: ModelSource, session: Any, names: tuple[str, ...]) -> None:
    for name in names:
        try:
            operation = session.graph.get_operation_by_name(name)
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"model '{source.name}': TF_INIT_OPS_FILE names the operation '{name[:100]}', which is not in the graph"
            ) from error
        session.run(operation)


def _close(session: Any) -> None:
    graph = session.graph
    session.close()
    dismantle(graph)


def _advice(graph: ModelGraph, error: Exception) -> str:
    text = error_text(error)
    if "min consumer" in text or "producer version" in text:
        return f"; a newer TensorFlow wrote the model than the installed {import_tensorflow().__version__}: upgrade it"
    if graph.path.is_dir() and type(error).__name__ in ("DataLossError", "NotFoundError", "OutOfRangeError"):
        return (
            f"; '{graph.path / 'variables'}' or '{graph.path / 'assets'}' is cut off, damaged or not of this model: "
            "copy the SavedModel's folder again, whole"
        )
    return ""
