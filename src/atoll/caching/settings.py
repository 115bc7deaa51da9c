"""What `--cache-config` says, and the cache that it asks for: found through the entry points "atoll.caches"."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import cast

from atoll.caching.api import CacheClass, ResponseCache
from atoll.config.problems import suggestion
from atoll.config.response_cache import parse_ttl
from atoll.errors import AtollError, InternalError, InvalidArgumentError, NotFoundError

GROUP = "atoll.caches"
TTL = "ttl"
_CONTRACT = ("blocks", "shared", "lookup", "insert", "close")


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """A cache's name and its own settings; `ttl_s` is for how many seconds an answer is kept at most, 0: no limit."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    ttl_s: float = 0.0


def read_cache_settings(
    cache_config: Sequence[str], response_cache_byte_size: int | None = None
) -> CacheSettings | None:
    """From the option's values, each NAME,SETTING=VALUE, or the deprecated size of a local cache; None for neither.

    Raises InvalidArgumentError, with the real server's words where it has any.
    """
    if response_cache_byte_size is not None:
        if cache_config:
            raise InvalidArgumentError(
                "Incompatible flags --response-cache-byte-size and --cache-config both provided. Please provide one or "
                "the other."
            )
        return CacheSettings("local", {"size": str(response_cache_byte_size)})
    by_name: dict[str, dict[str, str]] = {}
    for text in cache_config:
        name, comma, rest = text.partition(",")
        if not comma or not name or "=" in name:
            raise InvalidArgumentError(
                "No cache specified. --cache-config option format is <cache name>,<setting>=<value>. Got " + text
            )
        setting, _, value = rest.partition("=")
        if not setting or not value:
            raise InvalidArgumentError(f"--cache-config option format is '<cache name>,<setting>=<value>'. Got {text}")
        by_name.setdefault(name, {})[setting] = value
    if not by_name:
        return None
    if len(by_name) > 1:
        raise InvalidArgumentError(
            "found multiple cache configurations, but only a single cache is currently supported: "
            f"--cache-config names {', '.join(by_name)}"
        )
    ((name, settings),) = by_name.items()
    ttl = settings.pop(TTL, "")
    return CacheSettings(name, settings, read_ttl(ttl, f"--cache-config {name},{TTL}") if ttl else 0.0)


def read_ttl(text: str, where: str) -> float:
    """A time to live, in seconds. Raises InvalidArgumentError saying where the text stands."""
    seconds = parse_ttl(text)
    if seconds is None:
        raise InvalidArgumentError(f"{where}: '{text}' is no number of seconds; give one above 0, as in 60 or 0.5")
    return seconds


def cache_names() -> list[str]:
    """The names of all installed caches, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def open_cache(settings: CacheSettings, environment: Mapping[str, str]) -> ResponseCache:
    """The cache that is asked for.

    Raises NotFoundError listing the installed ones when there is none of that name, InternalError when its package
    cannot be imported, and what its class raises.
    """
    points = list(entry_points(group=GROUP, name=settings.name))
    if not points:
        near = suggestion(settings.name, cache_names())
        raise NotFoundError(
            f"unable to find cache '{settings.name}': no installed package offers it. Installed caches: "
            f"{', '.join(cache_names()) or 'none'}" + (f". Did you mean '{near}'?" if near else "")
        )
    try:
        found = cast(CacheClass, points[0].load())(settings.settings, environment)
        lacking = [one for one in _CONTRACT if not hasattr(found, one)]
        if lacking:
            raise InternalError(f"cache '{settings.name}' ({points[0].value}) has no {', '.join(lacking)}")
        return found
    except AtollError:
        raise
    except Exception as error:  # whatever somebody's module does
        raise InternalError(
            f"cache '{settings.name}' ({points[0].value}) cannot be made: {type(error).__name__}: {error}"
        ) from error


def refuse_unknown(name: str, settings: Mapping[str, str], known: Iterable[str]) -> None:
    """Raises InvalidArgumentError for a setting that the cache does not have: misspelt, it would go unnoticed."""
    have = [*known, TTL]
    for setting in settings:
        if setting not in have:
            near = suggestion(setting, have)
            raise InvalidArgumentError(
                f"--cache-config {name},{setting}: there is no such setting. The settings of this cache are: "
                f"{', '.join(have)}" + (f". Did you mean '{near}'?" if near else "")
            )
