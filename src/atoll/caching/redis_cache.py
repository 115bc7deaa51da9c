"""The built-in cache "redis": answers in a Redis server, which several servers may share, and which outlives them.

Settings and environment variables are those of Triton's redis cache. Entries go when their time to live is over, or
when Redis makes room for others: give it `maxmemory` and a `maxmemory-policy`, such as allkeys-lru.
"""

import logging
from collections.abc import Mapping
from typing import Any

from atoll.caching.api import Entry
from atoll.caching.settings import refuse_unknown
from atoll.errors import InvalidArgumentError, MissingExtraError

logger = logging.getLogger(__name__)

USERNAME = "TRITONCACHE_REDIS_USERNAME"
PASSWORD = "TRITONCACHE_REDIS_PASSWORD"
MOST_BYTES = 64 << 20
"""Of an entry: a larger one is neither written nor read."""

SETTINGS = (
    "host",
    "port",
    "user",
    "password",
    "db",
    "tls_enabled",
    "cert",
    "key",
    "cacert",
    "cert_dir",
    "timeout",
)
_TIMEOUT_S = 0.25  # a model that needs no longer than this is better off without


class RedisCache:
    """Thread-safe. `timeout`, in seconds, is for connecting, and for each answer of Redis."""

    blocks = True
    shared = True
    largest_entry = MOST_BYTES

    def __init__(self, settings: Mapping[str, str], environment: Mapping[str, str]):
        refuse_unknown("redis", settings, SETTINGS)
        host = settings.get("host")
        if not host:
            raise InvalidArgumentError(
                "Must at a minimum specify 'host' to create a cache: --cache-config redis,host=HOST"
            )
        if "," in host:
            raise InvalidArgumentError(
                f"--cache-config redis,host={host}: no host has a comma in its name; give each setting in a "
                "--cache-config of its own, as in --cache-config redis,host=HOST --cache-config redis,port=6379"
            )
        timeout_s = _seconds(settings.get("timeout", str(_TIMEOUT_S)))
        options: dict[str, Any] = {
            "host": host,
            "port": _number("port", settings.get("port", "6379"), 65535),
            "db": _number("db", settings.get("db", "0"), 1 << 20),
            "username": settings.get("user") or environment.get(USERNAME) or None,
            "password": settings.get("password") or environment.get(PASSWORD) or None,
        }
        options |= _tls(settings)
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise MissingExtraError(
                "--cache-config redis needs the package redis, which is not installed: pip install 'atoll[redis]'"
            ) from error
        self._wrong_type: type[Exception] = redis.ResponseError
        self._client = redis.Redis(
            **options,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1),  # a connection that Redis has closed meanwhile is opened anew at once
            client_name="atoll",
        )
        where = f"{host}:{options['port']}"
        try:
            self._client.ping()
        except redis.AuthenticationError as error:
            self.close()
            raise InvalidArgumentError(
                f"Redis at {where} refuses the user or the password: {error}. They come from --cache-config "
                f"redis,user= and redis,password=, or from {USERNAME} and {PASSWORD}"
            ) from error
        except redis.RedisError as error:
            logger.warning("Redis at %s does not answer yet, and requests are served without it: %s", where, error)

    def lookup(self, key: str) -> Entry | None:
        try:
            # In place of GET: whatever somebody has put there, no more than this is read.
            found = self._client.getrange(key, 0, MOST_BYTES)
        except self._wrong_type as error:
            if "WRONGTYPE" in str(error):
                return None
            raise
        return bytes(found) if found else None  # type: ignore[arg-type]

    def insert(self, key: str, entry: bytes, ttl_s: float) -> None:
        if len(entry) <= MOST_BYTES:
            self._client.set(key, entry, px=max(int(ttl_s * 1000), 1) if ttl_s else None)

    def close(self) -> None:
        self._client.close()


def _tls(settings: Mapping[str, str]) -> dict[str, Any]:
    enabled = settings.get("tls_enabled", "false").lower()
    if enabled not in ("true", "false"):
        raise InvalidArgumentError(f"--cache-config redis,tls_enabled: '{enabled}' is neither true nor false")
    files = {
        option: settings[name]
        for name, option in (
            ("cert", "ssl_certfile"),
            ("key", "ssl_keyfile"),
            ("cacert", "ssl_ca_certs"),
            ("cert_dir", "ssl_ca_path"),
        )
        if name in settings
    }
    if enabled == "true":
        return {"ssl": True, **files}
    if files:
        raise InvalidArgumentError(
            "--cache-config redis: certificates are given, but TLS is off; add --cache-config redis,tls_enabled=true"
        )
    return {}


def _number(name: str, text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > most:
        raise InvalidArgumentError(f"--cache-config redis,{name}: '{text}' is no number from 0 to {most}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:
        raise InvalidArgumentError(
            f"--cache-config redis,timeout: '{text}' is no number of seconds above 0 and up to 60, such as 0.25"
        )
    return seconds
