"""The families of the whole server: which one it is, its models' states and loads, its response cache, its memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from atoll.observability.metrics.text_format import braces, family, header, number

_TOGETHER: Final = 50  # models whose lines are written at once
STATES: Final = ("LOADING", "READY", "UNLOADING", "UNAVAILABLE")


class CacheReading(Protocol):
    """What the response cache has counted, of all models together."""

    @property
    def hits(self) -> int: ...
    @property
    def misses(self) -> int: ...
    @property
    def lookup_ns(self) -> int: ...
    @property
    def insertion_ns(self) -> int: ...
    @property
    def utilization(self) -> float:
        """How much of it is in use, from 0 to 1; 0 where it cannot say."""

    @property
    def entries(self) -> int: ...
    @property
    def evictions(self) -> int: ...


class MemoryPoolReading(Protocol):
    """A pool of host memory, and how much of it is in use."""

    @property
    def total_bytes(self) -> int:
        """Its size."""

    @property
    def used_bytes(self) -> int:
        """What is handed out."""


class StateReading(Protocol):
    """A model version, and its state, one of STATES."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str:
        """ "" for a model that failed before it had versions."""

    @property
    def state(self) -> str: ...


class EventsReading(Protocol):
    """What has happened to a model."""

    @property
    def name(self) -> str: ...
    @property
    def loads(self) -> int: ...
    @property
    def load_failures(self) -> int: ...
    @property
    def unloads(self) -> int: ...


_CACHE: Final[tuple[tuple[str, str, Callable[[CacheReading], float]], ...]] = (
    ("nv_cache_util", "Cache utilization [0.0 - 1.0]", lambda cache: cache.utilization),
    ("nv_cache_num_entries", "Number of responses stored in response cache", lambda cache: cache.entries),
    ("nv_cache_num_hits", "Number of cache hits in response cache", lambda cache: cache.hits),
    ("nv_cache_num_misses", "Number of cache misses in response cache", lambda cache: cache.misses),
    ("nv_cache_num_lookups", "Number of cache lookups in response cache", lambda cache: cache.hits + cache.misses),
    ("nv_cache_num_evictions", "Number of cache evictions in response cache", lambda cache: cache.evictions),
    (
        "nv_cache_lookup_duration",
        "Total cache lookup duration (hit and miss), in microseconds",
        lambda cache: cache.lookup_ns // 1000,
    ),
    (
        "nv_cache_insertion_duration",
        "Total cache insertion duration, in microseconds",
        lambda cache: cache.insertion_ns // 1000,
    ),
)
_POOL: Final[tuple[tuple[str, str, Callable[[MemoryPoolReading], int]], ...]] = (
    (
        "nv_pinned_memory_pool_total_bytes",
        "Pinned memory pool total memory size, in bytes",
        lambda pool: pool.total_bytes,
    ),
    (
        "nv_pinned_memory_pool_used_bytes",
        "Pinned memory pool used memory size, in bytes",
        lambda pool: pool.used_bytes,
    ),
)
_INFO: Final = ("atoll_server_info", "Always 1; its label says which version of Atoll this is (not in Triton)")
_READY: Final = ("atoll_server_ready", "1 where the server says that it is ready, else 0 (not in Triton)")
_STATE: Final = (
    "atoll_model_state",
    "1 for the state that the model version is in, 0 for the others (not in Triton)",
)
_MEMORY: Final = (
    "atoll_model_memory_bytes",
    "Host memory of the model version, in bytes, where it is known (not in Triton)",
)
_EVENTS: Final[tuple[tuple[str, str, Callable[[EventsReading], int]], ...]] = (
    (
        "atoll_model_load_success_count",
        "Number of times that the model was loaded, or another of its versions (not in Triton)",
        lambda events: events.loads,
    ),
    (
        "atoll_model_load_failure_count",
        "Number of times that loading the model failed (not in Triton)",
        lambda events: events.load_failures,
    ),
    (
        "atoll_model_unload_count",
        "Number of times that the model was taken out of service (not in Triton)",
        lambda events: events.unloads,
    ),
)
NAMES: Final = frozenset(
    [
        *(name for name, _, _ in _CACHE),
        *(name for name, _, _ in _POOL),
        *(name for name, _ in (_INFO, _READY, _STATE, _MEMORY)),
        *(name for name, _, _ in _EVENTS),
    ]
)


def server_families(version: str, ready: bool) -> Iterator[str]:
    """Which server this is, and whether requests should come here."""
    yield family(*_INFO, "gauge", [f"{_INFO[0]}{braces([('version', version)])} 1\n"])
    yield family(*_READY, "gauge", [f"{_READY[0]} {int(ready)}\n"])


def state_family(models: Iterable[StateReading]) -> Iterator[str]:
    """In small pieces. Models of one name, in several namespaces, share their lines."""
    states: dict[tuple[str, str], set[str]] = {}
    for one in models:
        states.setdefault((one.name, one.version), set()).add(one.state)
    beginning = header(*_STATE, "gauge")
    for labels, found in states.items():
        yield beginning + "".join(_state_lines(labels, found))
        beginning = ""


def _state_lines(labels: tuple[str, str], found: set[str]) -> list[str]:
    shown = braces([("model", labels[0]), ("version", labels[1])])[:-1]
    return [f'{_STATE[0]}{shown},state="{state}"}} {int(state in found)}\n' for state in STATES]


def event_families(models: Iterable[EventsReading]) -> Iterator[str]:
    """How often models were loaded and unloaded. In small pieces."""
    known = list(models)
    for name, description, read in _EVENTS:
        beginning = header(name, description, "counter")
        for start in range(0, len(known), _TOGETHER):
            some = known[start : start + _TOGETHER]
            lines = [f"{name}{braces([('model', one.name)])} {read(one)}\n" for one in some]
            yield beginning + "".join(lines)
            beginning = ""


def memory_family(sizes: Mapping[tuple[str, str], int]) -> str:
    """What models have in memory, by name and version."""
    return family(
        *_MEMORY,
        "gauge",
        [
            f"{_MEMORY[0]}{braces([('model', name), ('version', version)])} {size}\n"
            for (name, version), size in sorted(sizes.items())
        ],
    )


def cache_families(cache: CacheReading) -> Iterator[str]:
    """Of the response cache."""
    for name, description, read in _CACHE:
        yield family(name, description, "gauge", [f"{name} {number(read(cache))}\n"])


def pool_families(pool: MemoryPoolReading) -> Iterator[str]:
    """Of the memory in which batches are put together."""
    for name, description, read in _POOL:
        yield family(name, description, "gauge", [f"{name} {read(pool)}\n"])
