"""What config.pbtxt and --backend-config say about a session, under the names that Triton's ONNX Runtime backend uses.

`parameters` of a model win over the backend's settings. Keys that are none of ours are left alone, as in Triton:
clients and other tools read them. Those of the form `session.*`, `optimization.*`, `ep.*` and `mlas.*` go to ONNX
Runtime as they are.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.parameters import MAX_THREADS, Parameters
from atoll.errors import ConfigError

# The levels of `optimization { graph { level } }` in Triton's backend, by the names of ONNX Runtime's own.
# Any other level is the default, there as here.
AS_IT_IS = "ORT_DISABLE_ALL"
_GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: AS_IT_IS}
_DEFAULT_GRAPH_LEVEL = "ORT_ENABLE_ALL"

_SPINNING = "session.intra_op.allow_spinning"
_CONFIG_ENTRY = re.compile(r"(session|optimization|ep|mlas)\..+")
_SHRINKAGE = re.compile(r"(cpu:0|gpu:\d+)(;(cpu:0|gpu:\d+))*")
# These are off or on and nothing else, but ONNX Runtime takes any text for one of the two.
_SWITCH_ENTRIES = frozenset(
    {
        "session.disable_prepacking",
        "session.force_spinning_stop",
        "session.inter_op.allow_spinning",
        "session.intra_op.allow_spinning",
        "session.set_denormal_as_zero",
        "session.use_device_allocator_for_initializers",
        "session.use_env_allocators",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How to make a session. A thread count of 0 leaves the choice to ONNX Runtime (one per physical core).

    `arena_shrinkage`: the devices whose arenas give their memory back after each run.
    """

    intra_op_thread_count: int = 0
    inter_op_thread_count: int = 0
    global_threads: bool = False
    parallel: bool = False
    graph_level: str = _DEFAULT_GRAPH_LEVEL
    mem_arena: bool = True
    mem_pattern: bool = True
    arena_shrinkage: tuple[str, ...] = ()
    config_entries: Mapping[str, str] = field(default_factory=dict)

    def shrinking(self, device: int | None) -> str:
        """What of `arena_shrinkage` concerns a session on that GPU, or on the CPU: ONNX Runtime fails every run that
        names the arena of another device.
        """
        return ";".join(one for one in self.arena_shrinkage if one in ("cpu:0", f"gpu:{device}"))

    def as_it_is(self) -> "SessionSettings":
        """The same for a graph that is optimized already."""
        return replace(self, graph_level=AS_IT_IS)

    def graph_facts(self) -> list[str]:
        """What an optimized graph depends on."""
        entries = ((key, one) for key, one in self.config_entries.items() if not key.endswith("allow_spinning"))
        return [self.graph_level, repr(sorted(entries))]

    def resting(self) -> "SessionSettings":
        """The same with threads that do not spin between two pieces of work, unless somebody says what they do."""
        return replace(self, config_entries={_SPINNING: "0", **self.config_entries})


def session_settings(source: ModelSource) -> SessionSettings:
    """Read them from the model's configuration and the backend's settings.

    Raises ConfigError naming the key and the values that it may have.
    """
    found = Parameters(source)
    level = (
        source.config.optimization.graph.level if source.config.optimization and source.config.optimization.graph else 0
    )
    arena = found.switch("enable_mem_arena", True)
    return SessionSettings(
        intra_op_thread_count=found.number("intra_op_thread_count", MAX_THREADS),
        inter_op_thread_count=found.number("inter_op_thread_count", MAX_THREADS),
        global_threads=found.switch("enable-global-threadpool"),
        parallel=found.number("execution_mode", 1) == 1,
        graph_level=_GRAPH_LEVELS.get(level, _DEFAULT_GRAPH_LEVEL),
        mem_arena=arena,
        mem_pattern=found.switch("enable_mem_pattern", True),
        arena_shrinkage=shrinkage("memory.enable_memory_arena_shrinkage", found, arena),
        config_entries=_config_entries(found),
    )


def session_options(onnxruntime: Any, settings: SessionSettings) -> Any:
    """The settings as an onnxruntime.SessionOptions. Raises ConfigError naming the entry that it does not take."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_thread_count or _threads_on_these_cores()
    options.inter_op_num_threads = settings.inter_op_thread_count
    if settings.global_threads:  # older versions have neither the option nor the threads
        options.use_per_session_threads = False
    mode = "ORT_PARALLEL" if settings.parallel else "ORT_SEQUENTIAL"
    options.execution_mode = getattr(onnxruntime.ExecutionMode, mode)
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, settings.graph_level)
    options.enable_cpu_mem_arena = settings.mem_arena
    options.enable_mem_pattern = settings.mem_pattern
    for key, value in settings.config_entries.items():
        try:
            options.add_session_config_entry(key, value)
        except RuntimeError as error:
            raise ConfigError(f"ONNX Runtime does not take the parameter '{key[:80]}': {error}") from error
    return options


def _threads_on_these_cores() -> int:
    """One for each core that this thread may run on, where these are not all of the machine's: ONNX Runtime would bind
    its threads to the others too, if the choice were left to it. 0 leaves it.
    """
    cores = len(os.sched_getaffinity(0))
    return cores if cores < (os.cpu_count() or 1) else 0


def shrinkage(key: str, parameters: Parameters, arena: bool) -> tuple[str, ...]:
    """The devices under that key. Raises ConfigError for what names none, and for a CPU's arena that is not there."""
    text = parameters.text(key)
    if text and not _SHRINKAGE.fullmatch(text):
        raise parameters.wrong(key, "devices such as 'cpu:0' or 'cpu:0;gpu:0'")
    if "cpu" in text and not arena:
        raise parameters.wrong(key, "left out where enable_mem_arena is 0: there is no arena to shrink")
    return tuple(text.split(";")) if text else ()


def _config_entries(parameters: Parameters) -> dict[str, str]:
    entries = parameters.matching(_CONFIG_ENTRY)
    for key in _SWITCH_ENTRIES & entries.keys():
        if entries[key] not in ("0", "1"):
            raise parameters.wrong(key, "0 or 1")
    return entries
