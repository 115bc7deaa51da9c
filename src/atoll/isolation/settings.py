"""What is said of a model's processes: parameters of the model, over the settings of its backend."""

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.backends.api import ModelSource
from atoll.config.byte_size import parse_byte_size
from atoll.config.model_config import ModelConfig
from atoll.config.parameter_text import wrong_parameter
from atoll.errors import ConfigError

MIB = 1 << 20
DEFAULT_PREFIX = "triton_python_backend_shm_region_"  # the real server's
PLACEMENTS = ("process", "thread")
START_METHODS = ("spawn", "fork")
MAX_SECONDS = 10**9
MAX_THREADS = 1024
_PREFIX_LENGTH = 128
_OF_PROCESSES = ("start_method", "memory_limit", "threads", "load_timeout_seconds", "execution_timeout_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationSettings:
    """`first_bytes` and `growth_bytes` are of the shared memory in each direction. `memory_limit` is in bytes, 0 for
    none. `threads` are those of numerical libraries in one process, 0 for a fair share of the machine. Seconds of 0
    mean for ever.
    """

    first_bytes: int = MIB
    growth_bytes: int = MIB
    prefix: str = DEFAULT_PREFIX
    stub_timeout_s: float = 30.0
    load_timeout_s: float = 0.0
    execution_timeout_s: float = 0.0
    start_method: str = "spawn"
    memory_limit: int = 0
    threads: int = 0


def is_isolated(config: ModelConfig, default: bool) -> bool:
    """Whether the model's instances run in processes of their own. Raises ConfigError for what says neither."""
    text = config.parameter("isolation")
    if text not in ("", *PLACEMENTS):
        raise _wrong(config.name, "isolation", text, "'process' or 'thread'")
    return text == "process" if text else default


def read_isolation_settings(source: ModelSource) -> IsolationSettings:
    """Raises ConfigError naming the parameter or setting that is wrong."""
    said = _Said(source)
    prefix = said.setting("shm-region-prefix-name") or DEFAULT_PREFIX
    if len(prefix) > _PREFIX_LENGTH or "/" in prefix or "\0" in prefix or prefix.startswith("."):
        raise said.wrong("shm-region-prefix-name", prefix, f"a file name of up to {_PREFIX_LENGTH} characters")
    start_method = said.parameter("start_method") or "spawn"
    if start_method not in START_METHODS:
        raise said.wrong("start_method", start_method, "'spawn' or 'fork'")
    said.number("thread-pool-size", 1, MAX_THREADS, least=1)  # the real server's; here is no such pool to size
    return IsolationSettings(
        first_bytes=said.byte_size("shm-default-byte-size", "shm-default-size") or MIB,
        growth_bytes=said.byte_size("shm-growth-byte-size", "shm-growth-size") or MIB,
        prefix=prefix,
        stub_timeout_s=said.seconds("stub-timeout-seconds", 30.0),
        load_timeout_s=said.seconds("load-timeout-seconds", 0.0, parameter="load_timeout_seconds"),
        execution_timeout_s=said.seconds("execution-timeout-seconds", 0.0, parameter="execution_timeout_seconds"),
        start_method=start_method,
        memory_limit=said.byte_size("memory-limit", parameter="memory_limit"),
        threads=int(said.number("threads", 0, MAX_THREADS, parameter="threads")),
    )


def without_effect(config: ModelConfig, isolated_by_default: bool) -> list[str]:
    """The parameters that say something of processes, for a model that has none. A backend whose models run in the
    server unless told otherwise may have a `threads` of its own.
    """
    keys = [key for key in _OF_PROCESSES if isolated_by_default or key != "threads"]
    return [key for key in keys if config.parameter(key)]


class _Said:
    """Parameters of a model, settings of its backend."""

    def __init__(self, source: ModelSource):
        self._model = source.name
        self._backend = source.config.backend
        self._config = source.config
        self._settings: Mapping[str, str] = source.settings

    def setting(self, key: str) -> str:
        return self._settings.get(key, "")

    def parameter(self, key: str) -> str:
        return self._config.parameter(key)

    def byte_size(self, *keys: str, parameter: str = "") -> int:
        key, text = self._first(keys, parameter)
        if not text:
            return 0
        size = parse_byte_size(text)
        if size is None or not 0 <= size < 1 << 50:
            raise self.wrong(key, text, "a number of bytes, such as 1048576 or 64MiB")
        return size

    def seconds(self, key: str, default: float, *, parameter: str = "") -> float:
        return self.number(key, default, MAX_SECONDS, parameter=parameter)

    def number(self, key: str, default: float, largest: int, *, parameter: str = "", least: int = 0) -> float:
        key, text = self._first((key,), parameter)
        if not text:
            return default
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not least <= number <= largest:
            raise self.wrong(key, text, f"a number from {least} to {largest}")
        return number

    def _first(self, keys: tuple[str, ...], parameter: str) -> tuple[str, str]:
        if parameter and self.parameter(parameter):
            return parameter, self.parameter(parameter)
        return next(((key, self.setting(key)) for key in keys if self.setting(key)), (keys[0], ""))

    def wrong(self, key: str, text: str, wanted: str) -> ConfigError:
        if self.parameter(key) == text:
            return _wrong(self._model, key, text, wanted)
        return ConfigError(f"--backend-config={self._backend},{key}={text}: expected {wanted}")


def _wrong(model: str, key: str, text: str, wanted: str) -> ConfigError:
    problem = wrong_parameter(model, key, text, wanted)
    return ConfigError(problem.message, [problem])
