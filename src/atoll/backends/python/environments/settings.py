"""What an operator says about environments: `--backend-config=python,KEY=VALUE`, read and checked in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import ConfigError

GIB = 1 << 30
_SWITCH = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSettings:
    """Where environments are kept, where packages come from, and how large and how slow things may be."""

    directory: Path
    """Where environments are kept."""
    uv_cache: Path | None = None
    """Where uv keeps packages; None where it likes to."""
    use_requirements: bool = True
    """Whether a requirements.txt beside a model is read."""
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    offline: bool = False
    largest_bytes: int = 32 * GIB
    """What one archive may hold, unpacked."""
    kept_bytes: int = 64 * GIB
    """What all environments together may take before those that nobody uses are removed."""
    timeout_s: float = 3600.0
    """How long one environment may take to be made."""


def read_settings(settings: Mapping[str, str], environment: Mapping[str, str]) -> EnvironmentSettings:
    """The settings of the Python backend that concern environments; others are left alone.

    `environment` holds the process's variables, for the default folder. Raises ConfigError naming the setting.
    """
    chosen = settings.get("environment-cache-directory", "")
    directory = Path(chosen).absolute() if chosen else _default_directory(environment)
    return EnvironmentSettings(
        directory=directory,
        uv_cache=directory / "uv" if chosen and not environment.get("UV_CACHE_DIR") else None,
        use_requirements=_switch("use-requirements", settings.get("use-requirements", "true")),
        index_url=settings.get("index-url", "").strip(),
        extra_index_urls=tuple(settings.get("extra-index-url", "").split()),
        find_links=tuple(_place(one) for one in settings.get("find-links", "").split()),
        offline=_switch("offline", settings.get("offline", "false")),
        largest_bytes=_number("environment-byte-size", settings.get("environment-byte-size", str(32 * GIB))),
        kept_bytes=_number("environment-cache-byte-size", settings.get("environment-cache-byte-size", str(64 * GIB))),
        timeout_s=float(_number("environment-timeout-seconds", settings.get("environment-timeout-seconds", "3600"))),
    )


def _default_directory(environment: Mapping[str, str]) -> Path:
    """In the user's cache, as the XDG Base Directory Specification has it."""
    base = environment.get("XDG_CACHE_HOME", "")
    try:
        home = Path(base) if base.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".cache"
    except RuntimeError as error:
        raise ConfigError(
            f"there is no folder for the environments of Python models: {error}; set HOME, or give a folder by "
            "--backend-config=python,environment-cache-directory=DIR"
        ) from error
    return home / "atoll" / "environments"


def _place(text: str) -> str:
    """A folder of wheels as an absolute path; a URL as it is."""
    return text if "://" in text else str(Path(text).absolute())


def _switch(key: str, text: str) -> bool:
    value = _SWITCH.get(text.strip().lower())
    if value is None:
        raise ConfigError(f"--backend-config=python,{key}={text} is '{text[:80]}' but must be true or false")
    return value


def _number(key: str, text: str) -> int:
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isdigit() and len(stripped) <= 18 and int(stripped) > 0):
        raise ConfigError(
            f"--backend-config=python,{key}={text[:80]} is '{text[:80]}' but must be a whole number above 0"
        )
    return int(stripped)
