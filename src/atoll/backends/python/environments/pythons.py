"""Where a Python of another version lies: as uv finds it, and in pyenv's folders, which uv does not look into."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from atoll.backends.python.environments.interpreter import LEAST_PYTHON
from atoll.backends.python.environments.uv import find_uv, run, uv_environment
from atoll.errors import ConfigError

_VERSION = re.compile(r"(3)\.(\d{1,3})(?:\.(\d{1,3}))?")
_TIMEOUT_S = 120.0


def parse_version(text: str, where: str) -> tuple[int, ...]:
    """The numbers of "3.12" or "3.12.1". Raises ConfigError, which begins with `where`, for others and too old ones."""
    match = _VERSION.fullmatch(text.strip())
    least = f"{LEAST_PYTHON[0]}.{LEAST_PYTHON[1]}"
    if match is None:
        raise ConfigError(
            f"{where} is '{text[:80]}' but must be a version of Python such as 3.12 or 3.12.1; for an interpreter that "
            "lies elsewhere make an environment of it and name it by the parameter 'venv'"
        )
    version = tuple(int(one) for one in match.groups() if one is not None)
    if version[:2] < LEAST_PYTHON:
        raise ConfigError(f"{where} is '{text[:80]}', but models need Python {least} or later")
    return version


def find_python(version: tuple[int, ...], environment: Mapping[str, str], where: str) -> Path:
    """The program of that version on this machine; nothing is downloaded. Raises ConfigError if there is none."""
    if sys.executable and sys.version_info[: len(version)] == version:
        return Path(sys.executable)
    text = ".".join(map(str, version))
    uv = find_uv(environment)
    variables = uv_environment(environment)
    variables["PATH"] = os.pathsep.join([*_pyenv(text, environment), environment.get("PATH", os.defpath)])
    ended = run(
        [uv, "python", "find", "--no-project", "--no-config", "--no-python-downloads", text],
        environment=variables,
        directory=Path(tempfile.gettempdir()),
        deadline=time.monotonic() + _TIMEOUT_S,
    )
    found = Path(ended.text.splitlines()[-1]) if ended.status == 0 and ended.text else None
    if found is None or not found.is_absolute():
        raise ConfigError(
            f"{where} asks for Python {text}, which is not installed where uv looks (its own, PATH, pyenv); install "
            f"it, for example by `uv python install {text}`, or leave the parameter out to use Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}"
        )
    return found


def _pyenv(text: str, environment: Mapping[str, str]) -> list[str]:
    """The folders of pyenv's versions that fit, latest first. Its shims, which PATH has, run one version only."""
    root = environment.get("PYENV_ROOT") or os.path.join(environment.get("HOME", ""), ".pyenv")
    try:
        names = os.listdir(os.path.join(root, "versions"))
    except OSError:
        return []
    fitting = [name for name in names if name == text or name.startswith(f"{text}.")]

    def age(name: str) -> list[int]:
        return [int(one) for one in name.split(".") if one.isdigit()]

    return [os.path.join(root, "versions", name, "bin") for name in sorted(fitting, key=age, reverse=True)]
