"""The three calls that a repository makes to an object store (list, head, get), through obstore, with errors of ours.

Every call is bounded in time: connecting, each silence while an answer comes, each request as a whole, and its retries.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from atoll.errors import ConfigError, MissingExtraError, NotFoundError
from atoll.repositories.credentials import Connection, connection
from atoll.repositories.object_errors import ObjectChangedError, cause_of, explain
from atoll.repositories.object_location import ObjectLocation, Service
from atoll.repositories.object_names import MAX_OBJECTS, StoredObject

MAX_NAMES = 10_000  # of models in a repository
LIST_CHUNK = 1000
READ_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a store, in seconds, and how often a request is made again."""

    connect_s: float = 5
    silence_s: float = 30
    request_s: float = 300
    retries: int = 4
    retry_s: float = 60


class ObjectClient:
    """A location's store. Thread-safe. Looks credentials up at the first call, and again after they were refused."""

    def __init__(self, location: ObjectLocation, text: str, environment: Mapping[str, str], patience: Patience) -> None:
        self._location = location
        self._text = text
        self._environment = environment
        self._patience = patience
        self._lock = threading.Lock()
        self._store: Any = None
        self._source = ""
        self._endpoint = ""

    def top_level(self) -> tuple[list[str], dict[str, StoredObject]]:
        """The names of the folders directly in the location, and the objects directly in it, by name."""
        store = self._opened()
        import obstore

        prefix = self._location.prefix
        try:
            found = obstore.list_with_delimiter(store, prefix or None)
        except Exception as error:  # obstore raises its own tree, OSError and ValueError
            raise self._explained(error, "list", prefix) from None
        folders = sorted({_below(key, prefix) for key in found["common_prefixes"]} - {""})
        if len(folders) > MAX_NAMES:
            raise ConfigError(
                f"list of {self._location.url(prefix)}: more than {MAX_NAMES} folders lie there; is this the folder "
                "that holds the models?"
            )
        objects = [_stored(meta, prefix) for meta in found["objects"]]
        return folders, {one.path: one for one in objects if one.path}

    def objects(self, folder: str) -> list[StoredObject]:
        """Everything below a folder of the location; one more than MAX_OBJECTS at most. Empty where nothing is."""
        store = self._opened()
        import obstore

        prefix = self._location.key(folder)
        found: list[StoredObject] = []
        try:
            for chunk in obstore.list(store, prefix, chunk_size=LIST_CHUNK):
                found.extend(_stored(meta, prefix) for meta in chunk)
                if len(found) > MAX_OBJECTS:
                    break
        except Exception as error:  # as above
            raise self._explained(error, "list", prefix) from None
        return found[: MAX_OBJECTS + 1]

    def exists(self, one: StoredObject) -> bool:
        """Whether there is an object of exactly this name: a marker of a folder is listed without its last slash."""
        store = self._opened()
        import obstore

        try:
            obstore.head(store, one.key)
        except Exception as error:  # as above
            explained = self._explained(error, "head", one.key)
            if isinstance(explained, NotFoundError):
                return False
            raise explained from None
        return True

    def read(self, one: StoredObject, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to `end` of exactly the listed object, in pieces.

        Raises ObjectChangedError where it is another one by now, UnavailableError where it ends early.
        """
        store = self._opened()
        import obstore

        options: Any = {} if (start, end) == (0, one.size) else {"range": (start, end)}
        if one.etag:
            options["if_match"] = one.etag
        left = end - start
        try:
            result = obstore.get(store, one.key, options=options)
            meta = result.meta
            if meta["size"] != one.size or (one.etag and quoted(meta["e_tag"]) != one.etag):
                raise ObjectChangedError(
                    f"get of {self._location.url(one.key)} failed: the object was changed meanwhile"
                )
            for piece in result.stream(READ_CHUNK):
                left -= len(piece)
                if left < 0:
                    break
                yield bytes(piece)
        except ObjectChangedError:
            raise
        except Exception as error:  # as above
            raise self._explained(error, "get", one.key) from None
        if left:
            raise self._explained(EOFError("UnexpectedEof"), "get", one.key)

    def endpoint(self) -> str:
        """The address that is asked where the location does not say it: it is part of what a cache belongs to."""
        self._opened()
        return self._endpoint

    def _opened(self) -> Any:
        with self._lock:
            if self._store is None:
                import_obstore()
                found = connection(self._location, self._text, self._environment)
                self._source, self._endpoint = found.source, found.endpoint
                try:
                    self._store = self._open(found)
                except Exception as error:  # as above: a key that is no key, a file that is not there
                    raise self._explained(error, "opening", self._location.prefix) from None
            return self._store

    def _open(self, found: Connection) -> Any:
        from obstore.store import AzureStore, GCSStore, S3Store

        patience = self._patience
        client: dict[str, Any] = {
            "allow_http": found.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=patience.connect_s),
            "read_timeout": timedelta(seconds=patience.silence_s),
            "timeout": timedelta(seconds=patience.request_s),
        }
        if found.root_certificate:
            client["root_certificate"] = found.root_certificate
        options: dict[str, Any] = {
            "client_options": client,
            "retry_config": {
                "max_retries": patience.retries,
                "retry_timeout": timedelta(seconds=patience.retry_s),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=5),
                    "base": 2,
                },
            },
            "config": dict(found.config),
        }
        bucket = self._location.bucket
        if self._location.service is Service.GCS:
            return GCSStore(bucket, **options)
        if self._location.service is Service.AZURE:
            return AzureStore(bucket, **options)
        if found.keys:
            options["credential_provider"] = self._aws_keys
        return S3Store(bucket, **options)

    def _aws_keys(self) -> dict[str, Any]:
        """Called by obstore before its first request, and again once the keys have expired."""
        keys = connection(self._location, self._text, self._environment).keys
        if keys is None:
            raise ConfigError("the AWS keys that were given at first are gone")
        return {
            "access_key_id": keys.key_id,
            "secret_access_key": keys.secret_key,
            "token": keys.session_token or None,
            "expires_at": keys.expires_at,
        }

    def _explained(self, error: Exception, call: str, key: str) -> Exception:
        cause = cause_of(error)
        if cause is not None and cause.denied:
            self._store = None
        return explain(error, call, self._location, key, self._source)


def import_obstore() -> None:
    """Raises MissingExtraError where obstore is not installed."""
    try:
        import obstore  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "model repositories in object stores (s3://, gs://, as://) need obstore: pip install 'atoll[cloud]'"
        ) from None


def quoted(etag: str | None) -> str:
    """An ETag as HTTP's If-Match takes it: Azure lists them without quotes. A weak one cannot be asked for."""
    if not etag or etag.startswith("W/"):
        return ""
    return etag if etag.startswith('"') else f'"{etag}"'


def _below(key: str, prefix: str) -> str:
    return key.removeprefix(prefix).strip("/") if prefix else key.strip("/")


def _stored(meta: Any, prefix: str) -> StoredObject:
    etag = quoted(meta["e_tag"])
    path = meta["path"]
    if prefix:
        path = "" if path == prefix else path.removeprefix(f"{prefix}/")
    token = etag.strip('"') or f"{meta['size']}-{meta['last_modified'].isoformat()}"
    return StoredObject(meta["path"], path, meta["size"], token, etag)
