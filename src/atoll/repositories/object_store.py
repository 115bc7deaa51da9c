"""A model repository in an object store (S3, Google Cloud Storage, Azure), downloaded to a cache on disk.

Nothing is served from the store itself: `folder` downloads what the cache lacks, and returns a folder on disk that
holds the whole model of one moment, and goes on to until it is released.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from atoll.errors import ConfigError, NotFoundError, UnavailableError
from atoll.repositories.fingerprint import version_number
from atoll.repositories.names import shown, why_impossible
from atoll.repositories.object_cache import ModelCache, RepositoryCache
from atoll.repositories.object_client import ObjectClient, Patience
from atoll.repositories.object_download import Download
from atoll.repositories.object_errors import ObjectChangedError
from atoll.repositories.object_location import Service, is_object_store, parse_location
from atoll.repositories.object_names import Arrangement, arrange, check_segment, digest
from atoll.repositories.repository import ModelFolder

__all__ = ["ObjectStoreRepository", "Patience", "default_cache_directory", "is_object_store"]

logger = logging.getLogger(__name__)

LISTINGS = 3  # taken of a model whose objects change while they are downloaded
SERVER_CONFIG = "config.pbtxt"
MAX_SERVER_CONFIG_BYTES = 16 << 20
SERVER_CONFIG_FOLDER = ".server"  # beside the models in the cache; no model has a name with a dot before it
MOUNT_VARIABLES = {
    Service.S3: "TRITON_AWS_MOUNT_DIRECTORY",
    Service.GCS: "TRITON_GCS_MOUNT_DIRECTORY",
    Service.AZURE: "TRITON_AZURE_MOUNT_DIRECTORY",
}

Progress = Callable[[str, int, int], None]


def default_cache_directory(location: str, environment: Mapping[str, str]) -> Path:
    """Where downloads go unless an operator says otherwise: Triton's variable for the service, or the user's cache, as
    the XDG Base Directory Specification has it.
    """
    named = environment.get(MOUNT_VARIABLES[parse_location(location).service], "")
    if named:
        return Path(named)
    base = environment.get("XDG_CACHE_HOME", "")
    home = Path(base) if base.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".cache"
    return home / "atoll" / "repositories"


class ObjectStoreRepository:
    """Models of an object store. Thread-safe. Nothing is asked of the store before the first call.

    `cache_directory` None is the default one. `on_progress(model, done, total)`, in bytes, is called from the threads
    that download, one at a time for a model, and must be quick.
    """

    def __init__(
        self,
        location: str,
        *,
        cache_directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        on_progress: Progress | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Raises ConfigError for a location that cannot be understood."""
        self.location = location
        variables = os.environ if environment is None else environment
        self._place = parse_location(location)
        self._client = ObjectClient(self._place, location, variables, patience or Patience())
        self._on_progress = on_progress
        self._base = cache_directory or default_cache_directory(location, variables)
        self._cache: RepositoryCache | None = None
        self._lock = threading.Lock()
        self._seen = False
        self._ignored: set[str] = set()
        self._given: dict[Path, int] = {}

    def names(self) -> list[str]:
        """The models that are there now, sorted.

        An object store has no empty folders: a path under which nothing lies does not exist, unless something lay there
        before. Raises NotFoundError, UnavailableError, ConfigError.
        """
        folders, objects = self._client.top_level()
        if folders or objects or not self._place.prefix:
            self._seen = True
        elif not self._seen:
            kind = "container" if self._place.service is Service.AZURE else "bucket"
            raise NotFoundError(
                f"model repository '{self.location}': repository path is not a valid directory: the {kind} "
                f"'{self._place.bucket}' has no object whose name begins with '{self._place.prefix}/'"
                + ("; check that host and port are those of the store's API" if self._place.endpoint else "")
            )
        return [name for name in folders if not self._is_ignored(name)]

    def files(self, name: str) -> dict[str, str]:
        """Every file of a model: its path to its ETag. A folder that holds nothing has a slash at its end."""
        found = self._arrangement(name)
        return {one.path: one.token for one in found.files} | {f"{path}/": "folder" for path in found.folders}

    def folder(self, name: str) -> ModelFolder:
        """The model on disk, complete. It stays as it is until `release` is called as often as `folder` returned it, or
        until the process ends. Raises NotFoundError, ConfigError, UnavailableError.
        """
        for _ in range(LISTINGS):
            found = self._arrangement(name)
            try:
                directory = self._on_disk(name, found)
            except (ObjectChangedError, NotFoundError):
                continue  # changed or deleted since it was listed: the next listing knows
            return ModelFolder(name, directory, _versions(directory), self.location)
        raise UnavailableError(
            f"model '{name}' changes while it is downloaded: {LISTINGS} times its objects at {self._url(name)} were no "
            "longer those that had just been listed; load it again when it is all there"
        )

    def release(self, folder: ModelFolder) -> None:
        """A folder that `folder` returned is no longer used. What nobody uses is removed, but for the newest state."""
        with self._lock:
            count = self._given.get(folder.directory, 0)
            if count > 1:
                self._given[folder.directory] = count - 1
            else:
                self._given.pop(folder.directory, None)
            if count != 1:
                return
            if self._cache is None:
                return
            kept = self._cache.model(folder.directory.name)
        with kept.locked(wait=False) as free:
            if free:
                with self._lock:
                    if folder.directory not in self._given:
                        kept.drop(folder.directory)
                kept.clean()

    def server_config(self) -> Path | None:
        """config.pbtxt of the repository's root on disk; None without."""
        for _ in range(LISTINGS):
            _, objects = self._client.top_level()
            one = objects.get(SERVER_CONFIG)
            if one is None:
                return None
            if one.size > MAX_SERVER_CONFIG_BYTES:
                raise ConfigError(
                    f"{self._place.url(one.key)} has {one.size} bytes: a configuration file may have "
                    f"{MAX_SERVER_CONFIG_BYTES}"
                )
            with suppress(ObjectChangedError, NotFoundError):
                return self._on_disk(SERVER_CONFIG_FOLDER, Arrangement((one,), ())) / SERVER_CONFIG
        raise UnavailableError(f"{self._url(SERVER_CONFIG)} changes while it is downloaded; wait until it is all there")

    def close(self) -> None:
        """What this repository gave out may be removed from now on; a process's end does the same."""
        with self._lock:
            if self._cache is not None:
                self._cache.close()
                self._cache = None
            self._given.clear()

    def _is_ignored(self, name: str) -> bool:
        reason = why_impossible(name)
        if reason and not name.startswith(".") and name not in self._ignored:
            self._ignored.add(name)
            logger.warning("'%s' in repository '%s' is ignored: %s", shown(name), self.location, reason)
        return reason is not None

    def _arrangement(self, name: str) -> Arrangement:
        fault = why_impossible(name)
        if fault:
            raise NotFoundError(f"model '{shown(name)}' is not in {self.location}: {fault}")
        check_segment(name, f"model name '{shown(name)}'")
        where = self._url(name)
        found = arrange(self._client.objects(name), where)
        if not found.files and not found.folders:
            raise NotFoundError(f"model '{name}' is not in {self.location}: no object lies below {where}/")
        return found

    def _on_disk(self, name: str, found: Arrangement) -> Path:
        """The model's folder, downloaded where the cache lacks it, and held."""
        cache = self._opened_cache()
        kept = cache.model(name)
        with kept.locked(wait=False) as free:
            if free:
                return self._complete(kept, name, found)
        logger.info("model '%s': waiting for another download of it to end", name)
        with kept.locked():
            return self._complete(kept, name, found)

    def _complete(self, kept: ModelCache, name: str, found: Arrangement) -> Path:
        directory = kept.find(found)
        if directory is None:
            directory = self._download(kept, name, found)
        with self._lock:
            kept.hold(directory)
            self._given[directory] = self._given.get(directory, 0) + 1
        kept.clean()
        return directory

    def _download(self, kept: ModelCache, name: str, found: Arrangement) -> Path:
        missing = kept.missing(found)
        # An empty object may mark a folder; only asking for exactly its name tells.
        empty = {one.path for one in missing if not one.size and not self._client.exists(one)}
        wanted = [(one, kept.blob(one)) for one in missing if one.path not in empty]
        needed, free = sum(one.size for one, _ in wanted), kept.free_bytes()
        if needed > free:
            raise UnavailableError(
                f"model '{name}' needs {needed} bytes of disk for its download, and {kept.directory} has {free} free: "
                "make room, or give another folder by --repository-cache-directory"
            )
        if wanted:
            logger.info(
                "downloading %d of %d files, %d bytes, of '%s' from %s",
                *(len(wanted), len(found.files), needed, name, self.location),
            )
            Download(self._client, wanted, lambda done, total: self._progressed(name, done, total)).run()
        return kept.build(found, empty)

    def _progressed(self, name: str, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(name, done, total)

    def _opened_cache(self) -> RepositoryCache:
        with self._lock:
            if self._cache is None:
                place = self._place
                identity = (place.service.value, self._client.endpoint(), place.account, place.bucket, place.prefix)
                self._cache = RepositoryCache(self._base / digest(*identity), place.url(place.prefix))
                self._sweep(self._cache)
            return self._cache

    def _sweep(self, cache: RepositoryCache) -> None:
        """Once at the start: models that were not used for long, or that are no longer in the store, leave the disk."""
        for name in cache.names():
            kept = cache.model(name)
            with kept.locked(wait=False) as free:
                if free:
                    kept.clean()

    def _url(self, name: str) -> str:
        return self._place.url(self._place.key(name))


def _versions(directory: Path) -> dict[int, Path]:
    found = {version_number(entry.name): entry for entry in directory.iterdir() if entry.is_dir()}
    return dict(sorted((version, path) for version, path in found.items() if version is not None))
