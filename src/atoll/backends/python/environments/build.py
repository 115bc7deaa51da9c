"""Environments made by uv: from which Python, with which packages, and under which key they are kept."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from atoll.backends.python.environments.interpreter import LEAST_NUMPY, ask
from atoll.backends.python.environments.requirements import Requirements, read_requirements
from atoll.backends.python.environments.settings import EnvironmentSettings
from atoll.backends.python.environments.store import EnvironmentStore, Hold
from atoll.backends.python.environments.uv import Ended, find_uv, run, uv_environment
from atoll.errors import ConfigError, UnavailableError

_FORMAT = 1  # of the key; raise it when environments are made in another way
_NUMPY = f"numpy>={LEAST_NUMPY[0]}.{LEAST_NUMPY[1]}"
_DECIDING = (  # uv's variables that change which packages it takes
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_INDEX_STRATEGY", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_BUILD_CONSTRAINT", "UV_EXCLUDE_NEWER", "UV_PRERELEASE"),
    *("UV_RESOLUTION", "UV_TORCH_BACKEND", "UV_NO_BINARY", "UV_NO_BUILD"),
)
_CHATTER = ("Using ", "Creating virtual", "Activate with")
_ELSEWHERE = (*_CHATTER, "+ ", "error:", "cause:", "hint:")  # in the error, or too much for a log
_LONGEST_REPORT = 4000
_SECRET = re.compile(r"(?<=://)[^/\s@]+@")


def built(
    requirements: Requirements | None,
    python: Path,
    *,
    where: str,
    settings: EnvironmentSettings,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
) -> Hold:
    """An environment of this Python that holds what the requirements ask for, and numpy; its Python is
    `hold.directory / "venv/bin/python"`. Without requirements numpy is all.

    `where` begins the errors. Raises ConfigError where uv cannot make it, UnavailableError where the disk is full or it
    takes too long, and MissingExtraError without uv.
    """
    variables = uv_environment(environment) | _index_variables(settings, environment)
    key = _key(requirements, python, environment, variables, where)

    def build(directory: Path, lock: int) -> None:
        _build(directory, lock, requirements, python, find_uv(environment), where, settings, variables, progress)
        if requirements and read_requirements(requirements.path, environment).digest != requirements.digest:
            raise ConfigError(f"{where} was changed while its environment was made; load the model again")

    return EnvironmentStore(settings.directory).get(
        key,
        build,
        where=where,
        timeout_s=settings.timeout_s,
        kept_bytes=settings.kept_bytes,
        progress=lambda line: progress(f"{where}: {line}"),
        sound=lambda directory: _starts(directory / "venv/bin/python", environment),
    )


def _build(
    directory: Path,
    lock: int,
    requirements: Requirements | None,
    python: Path,
    uv: str,
    where: str,
    settings: EnvironmentSettings,
    variables: Mapping[str, str],
    progress: Callable[[str], None],
) -> None:
    target = directory / "venv"
    directory.mkdir(mode=0o700)
    progress(f"{where}: makes the environment in {target}")
    started = time.monotonic()
    commands = [[uv, "venv", "--no-project", "--python", str(python), str(target)]]
    install = [uv, "pip", "install", "--python", str(target / "bin" / "python")]
    if requirements is not None:
        install += ["-r", str(requirements.path)]
    if requirements is None or not requirements.pinned_by_hash:
        install.append(_NUMPY)
    commands.append(install)

    def report(line: str) -> None:
        if not line.startswith(_ELSEWHERE):
            progress(f"{where}: {_without_secrets(line)}")

    for command in commands:
        ended = run(
            command,
            environment=variables,
            directory=requirements.path.parent if requirements else directory,
            deadline=started + settings.timeout_s,
            lock=lock,
            on_line=lambda line: report(line.strip()),
            on_wait=lambda seconds: progress(f"{where}: still at work after {seconds:.0f} s"),
        )
        if ended.status != 0:
            raise _failure(ended, where, settings)
    progress(f"{where}: made the environment in {time.monotonic() - started:.1f} s")


def _failure(ended: Ended, where: str, settings: EnvironmentSettings) -> Exception:
    lines = [line for line in ended.text.splitlines() if not line.startswith(_CHATTER)]
    said = _without_secrets("\n".join(lines))[-_LONGEST_REPORT:]
    if ended.disk_is_full:
        free = shutil.disk_usage(settings.directory).free >> 20
        return UnavailableError(
            f"{where}: no environment can be made: the disk of {settings.directory} or of uv's cache is full "
            f"({free} MiB are free there); make room, or give another folder by "
            f"--backend-config=python,environment-cache-directory=DIR. uv says: {said}"
        )
    if ended.status is None:
        return UnavailableError(
            f"{where}: making the environment took longer than {settings.timeout_s:.0f} s and was ended; raise "
            f"--backend-config=python,environment-timeout-seconds. The last that uv said: {said}"
        )
    hint = ""
    if f"you require {_NUMPY}" in said:
        hint = f"; models need {_NUMPY}"
    elif "Failed to fetch" in said or "dns error" in said or "network was disabled" in said:
        hint = (
            "; --backend-config=python,index-url=URL names another index, and find-links=DIR a folder of wheels, where "
            "this one cannot be reached"
        )
    return ConfigError(f"{where}: no environment can be made of it{hint}. uv says: {said}")


def _index_variables(settings: EnvironmentSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """uv's own variables for the settings: what a URL says is a secret to those who see the command line."""
    found: dict[str, str] = {}
    if settings.index_url:
        found["UV_DEFAULT_INDEX"] = settings.index_url
    if settings.extra_index_urls:
        found["UV_INDEX"] = " ".join((*settings.extra_index_urls, *environment.get("UV_INDEX", "").split()))
    if settings.find_links:
        more = environment.get("UV_FIND_LINKS", "")
        found["UV_FIND_LINKS"] = ",".join((*settings.find_links, *([more] if more else [])))
    if settings.offline:
        found["UV_OFFLINE"] = "1"
    if settings.uv_cache is not None:
        found["UV_CACHE_DIR"] = str(settings.uv_cache)
    return found


def _key(
    requirements: Requirements | None,
    python: Path,
    environment: Mapping[str, str],
    variables: Mapping[str, str],
    where: str,
) -> str:
    """Changes with whatever would make another environment: the Python, the requirements, where packages come from."""
    try:
        answer = ask(python, environment)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    parts = [
        str(_FORMAT),
        ".".join(map(str, answer.python)),
        answer.base,
        requirements.digest if requirements else "",
        *(f"{name}={variables.get(name, '')}" for name in _DECIDING),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def _starts(python: Path, environment: Mapping[str, str]) -> bool:
    """Whether a kept environment's Python is still there, and the one that it was made from."""
    try:
        ask(python, environment)
    except ValueError:
        return False
    return True


def _without_secrets(text: str) -> str:
    """Without the names and passwords that a URL may hold."""
    return _SECRET.sub("****@", text)
