"""The server's response cache and its threads, and what a model gets of them."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from time import monotonic_ns
from typing import Protocol

from atoll.backends.api import ModelSource
from atoll.caching.key import KeyMaker
from atoll.caching.settings import CacheSettings, open_cache
from atoll.caching.store import CacheReading, ResponseStore
from atoll.caching.workers import Workers
from atoll.config.config_file import FORMS
from atoll.config.model_config import ModelConfig
from atoll.config.response_cache import cache_ttl_s, is_cached
from atoll.errors import AtollError
from atoll.execution.cached_pool import CachedPool
from atoll.execution.pool_api import Pool
from atoll.observability.statistics.recorder import StatisticsRecorder

logger = logging.getLogger(__name__)

Identity = Callable[[], bytes | None]
_CLOSE_NS = 10_000_000_000  # that the cache's threads get to end, once nothing is asked of them any more
_CHUNK = 1 << 20


class Identified(Protocol):
    """A model, as far as this room looks at it."""

    identity: Identity


class ResponseCaching:
    """Day: made with the fleet; `start` where it serves; any number of `wrap`; `close` when no model is left.
    Thread-safe.
    """

    def __init__(self, settings: CacheSettings | None, environment: Mapping[str, str]):
        self._store: ResponseStore | None = None
        self._workers = Workers()
        self._serving = False
        if settings is not None:
            self._store = ResponseStore(settings.name, open_cache(settings, environment), settings.ttl_s)

    def start(self) -> None:
        """The models from now on are for clients, who are told what they miss."""
        self._serving = True

    def identity(self, config: ModelConfig, source: ModelSource | None) -> Identity:
        """What makes a model the one that it is: for a shared cache what is written of it, its backend's settings and
        the content of its files, those of its version and those of no version; else that it was loaded this time.

        That is so too of what has no folder of its own: a bare model file, and (`source` None) a function. Reads all
        the files, where it needs them.
        """
        own = os.urandom(16)
        shared = self._store is not None and self._store.shared and is_cached(config)
        if shared and source is not None and source.version_directory != source.model_directory:
            files = _files(source.model_directory, source.version_directory)
            if source.backend_directory is not None:
                files += _files(source.backend_directory, source.backend_directory)
            try:
                own = _digest(config, files, source.settings)
            except OSError as error:
                logger.warning(
                    "model '%s': its answers are kept for this server alone, as its files cannot be read: %s",
                    config.name,
                    error,
                )
        return lambda: own

    def wrap(
        self,
        pool: Pool,
        config: ModelConfig,
        statistics: StatisticsRecorder,
        identity: Identity,
        *,
        sees_parameters: bool,
    ) -> Pool:
        """The pool behind the cache, if the model is to be cached and there is a cache; else the pool.

        `sees_parameters`: answers may depend on the parameters of requests.
        """
        if not is_cached(config):
            return pool
        if self._store is None:
            if self._serving:
                logger.warning(
                    "model '%s' enables the response cache, and the server has none: start it with --cache-config, as "
                    "in --cache-config local,size=268435456",
                    config.name,
                )
            return pool
        keys = KeyMaker(
            config.name, statistics.version, [one.name for one in config.output], sees_parameters=sees_parameters
        )
        ttl_s = cache_ttl_s(config) or self._store.ttl_s
        return CachedPool(pool, self._store, self._workers, keys, statistics, identity, ttl_s)

    def reading(self) -> CacheReading | None:
        """What the cache has counted; None where there is none."""
        return None if self._store is None else self._store.reading()

    def close(self) -> None:
        """Free the cache and its threads."""
        if not self._workers.close(monotonic_ns() + _CLOSE_NS):
            logger.warning("the response cache's threads did not end in time")
        if self._store is not None:
            self._store.close()


def ensemble_identity(
    config: ModelConfig, steps: Sequence[tuple[str, str]], find: Callable[[str, str], Identified]
) -> Identity:
    """Of an ensemble: its configuration, and the models of its steps, (name, version), as they are when it is asked.

    None where a step's model cannot be found now: then the cache is passed by.
    """
    own = _digest(config, [])

    def identity() -> bytes | None:
        digest = sha256(own)
        try:
            for name, version in steps:
                one = find(name, version).identity()
                if one is None:
                    return None
                digest.update(one)
        except AtollError:
            return None
        return digest.digest()

    return identity


def _digest(config: ModelConfig, files: Sequence[Path], settings: Mapping[str, str] | None = None) -> bytes:
    """Of what is written, instances and versions aside, and of the files' names and content."""
    written = repr((replace(config, instance_group=(), version_policy=None), sorted((settings or {}).items())))
    digest = sha256(written.encode("utf-8", "surrogateescape"))
    for file in files:
        content = sha256()
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                content.update(chunk)
        digest.update(os.fsencode(file.name))
        digest.update(content.digest())
    return digest.digest()


def _files(directory: Path, version: Path) -> list[Path]:
    """A model's regular files, but its configurations and those of other versions, in an order that is the same
    everywhere.
    """
    found: list[Path] = []
    written = {f"config{ending}" for ending in FORMS}
    seen: set[str] = set()
    for parent, folders, names in os.walk(directory, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # links that lead in a circle
            folders.clear()
            continue
        seen.add(real)
        if Path(parent) == directory:
            others = {one for one in folders if one.isdigit() and directory / one != version}
            folders[:] = [one for one in folders if one not in others and one != "configs"]
            names = [one for one in names if one not in written]
        folders[:] = [one for one in folders if one != "__pycache__"]
        found += [path for path in (Path(parent, name) for name in names) if path.is_file()]
    return sorted(found, key=lambda path: os.fsencode(path.relative_to(directory)))
