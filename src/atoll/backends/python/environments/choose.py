"""Which Python runs a model.

The first of these that is there decides: the parameter EXECUTION_ENV_PATH, the parameter `venv`, a requirements.txt,
the parameter `python`; else it is the server's own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from atoll.backends.python.environments.activation import activated, variables
from atoll.backends.python.environments.archive import ArchiveError, extract
from atoll.backends.python.environments.build import built
from atoll.backends.python.environments.interpreter import LEAST_NUMPY, Answer, Interpreter, check, own_interpreter
from atoll.backends.python.environments.pythons import find_python, parse_version
from atoll.backends.python.environments.requirements import read_requirements
from atoll.backends.python.environments.settings import EnvironmentSettings, read_settings
from atoll.backends.python.environments.store import EnvironmentStore, Hold
from atoll.errors import ConfigError, MissingExtraError

MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY"
_FILE = "requirements.txt"
_NONE = "none"
_UNPACK_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call of `interpreter_for`."""

    model_name: str
    model_directory: Path
    version_directory: Path
    parameters: Mapping[str, str]
    settings: EnvironmentSettings
    environment: Mapping[str, str]
    report: Callable[[str], None]

    def progress(self, line: str) -> None:
        self.report(f"model '{self.model_name}': {line}")

    def where(self, parameter: str) -> str:
        return f"model '{self.model_name}': parameter '{parameter}'"

    def version(self) -> tuple[int, ...] | None:
        text = self.parameters.get("python", "")
        return parse_version(text, self.where("python")) if text else None


def interpreter_for(
    *,
    model_name: str,
    model_directory: Path,
    version_directory: Path,
    parameters: Mapping[str, str],
    settings: Mapping[str, str],
    environment: Mapping[str, str],
    progress: Callable[[str], None],
) -> Interpreter:
    """The Python that the model's parameters and files ask for, made and checked if need be, which may take minutes.

    `version_directory` holds model.py. `parameters` are the model's, `settings` those of --backend-config=python,
    `environment` the variables that the child would have without this. `progress` gets lines for the log.

    Raises ConfigError naming parameter or file; UnavailableError where the disk refuses or it takes too long;
    MissingExtraError where uv is asked for and not installed: a requirements.txt that is only there is then not used.
    """
    asked = _Asked(
        model_name,
        model_directory.absolute(),
        version_directory.absolute(),
        parameters,
        read_settings(settings, environment),
        environment,
        progress,
    )
    if parameters.get("EXECUTION_ENV_PATH"):
        return _given(asked)
    if parameters.get("venv"):
        return _virtual_environment(asked)
    requirements = _requirements_file(asked)
    version = asked.version()
    if requirements is not None:
        try:
            return _made(asked, requirements, version)
        except MissingExtraError as error:
            if version is not None or parameters.get("requirements"):
                raise
            # Nobody has asked for it, and the real server does not read this file: a repository that it serves is
            # served here too.
            asked.progress(f"{requirements} is not used, the model runs with the server's own packages: {error}")
            return own_interpreter()
    if version is None or version == sys.version_info[: len(version)]:
        return own_interpreter()
    return _made(asked, None, version)


# ---- EXECUTION_ENV_PATH


def _given(asked: _Asked) -> Interpreter:
    where = asked.where("EXECUTION_ENV_PATH")
    text = asked.parameters["EXECUTION_ENV_PATH"]
    place = _place(asked, text, where)
    hold = None
    if place.is_file():
        hold = _unpacked(asked, place, where)
        place = hold.directory / "environment"
    python = _python_in(place)
    if python is None:
        raise ConfigError(
            f"{where}: Path {place}/bin/activate does not exist. The Python environment should contain an 'activate' "
            f"script, or at least bin/python, at its top; '{text}' holds neither: pack the environment's content, not "
            "the folder around it"
        )
    changes = activated(place, asked.environment, asked.progress)
    return _checked(asked, python, changes, hold, where)


def _place(asked: _Asked, text: str, where: str) -> Path:
    """A relative path counts from the server's working directory, as in the real server, or from the model's folder."""
    written = Path(text.replace(MODEL_DIRECTORY, str(asked.model_directory)))
    for path in (written.absolute(), asked.model_directory / written):
        if os.path.exists(path):
            return path.resolve()
    raise ConfigError(
        f"{where}: Failed to get the canonical path for {written}. There is no such file or folder; {MODEL_DIRECTORY} "
        "stands for the model's folder"
    )


def _unpacked(asked: _Asked, archive: Path, where: str) -> Hold:
    def build(directory: Path, lock: int) -> None:
        target = directory / "environment"
        target.mkdir(mode=0o700, parents=True)
        asked.progress(f"unpacks {archive} into {target}")
        try:
            extract(
                archive,
                target,
                largest_bytes=asked.settings.largest_bytes,
                on_progress=lambda done: asked.progress(f"has unpacked {done >> 20} MiB of {archive.name}"),
            )
        except ArchiveError as error:
            raise ConfigError(f"{where}: {archive} cannot be unpacked: {error}") from error
        if _identity(archive) != identity:
            raise ConfigError(f"{where}: {archive} was changed while it was unpacked; load the model again")
        _conda_unpack(asked, target, lock, where)

    try:
        identity = _identity(archive)
        digest = _digest(archive, identity)
    except OSError as error:
        raise ConfigError(f"{where}: {archive} cannot be read: {error.strerror or error}") from error
    return EnvironmentStore(asked.settings.directory).get(
        hashlib.sha256(f"archive 1 {digest}".encode()).hexdigest()[:40],
        build,
        where=where,
        timeout_s=asked.settings.timeout_s,
        kept_bytes=asked.settings.kept_bytes,
        progress=asked.progress,
    )


def _identity(archive: Path) -> tuple[int, ...]:
    found = archive.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(archive: Path, identity: tuple[int, ...]) -> str:
    """Of the content; read once for as long as the file stays the same, since it may have gigabytes."""
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _conda_unpack(asked: _Asked, directory: Path, lock: int, where: str) -> None:
    """conda-pack leaves a script that writes the new place into the environment's files; it runs once."""
    script, python = directory / "bin" / "conda-unpack", _python_in(directory)
    if not script.is_file() or python is None:
        return
    try:
        done = subprocess.run(
            [str(python), str(script)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**asked.environment, **variables(directory, asked.environment)},
            cwd=directory,
            pass_fds=(lock,),
            timeout=_UNPACK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{where}: conda-unpack of the archive does not run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-1000:]
        raise ConfigError(f"{where}: conda-unpack of the archive ended with exit status {done.returncode}: {said}")


# ---- venv


def _virtual_environment(asked: _Asked) -> Interpreter:
    where = asked.where("venv")
    text = asked.parameters["venv"]
    place = asked.model_directory / text.replace(MODEL_DIRECTORY, str(asked.model_directory))
    python = _python_in(place)
    if python is None:
        found = "has no bin/python" if os.path.isdir(place) else "is no folder"
        raise ConfigError(
            f"{where} is '{text}', but {place} {found}; give a virtual environment, absolute or relative to the "
            "model's folder"
        )
    return _checked(asked, python, variables(place, asked.environment), None, where)


def _python_in(directory: Path) -> Path | None:
    """The environment's Python, even where it is a link to nothing: the check says so better than its absence."""
    for name in ("python", "python3"):
        path = directory / "bin" / name
        if os.path.islink(path) or os.path.isfile(path):
            return path
    return None


# ---- requirements.txt and python


def _requirements_file(asked: _Asked) -> Path | None:
    named = asked.parameters.get("requirements", "")
    if named == _NONE:
        return None
    if named:
        path = asked.model_directory / named.replace(MODEL_DIRECTORY, str(asked.model_directory))
        if not os.path.isfile(path):
            raise ConfigError(
                f"{asked.where('requirements')} is '{named}', but there is no file {path}; give one, relative to the "
                f"model's folder, or '{_NONE}'"
            )
        return path
    if not asked.settings.use_requirements:
        return None
    for folder in (asked.version_directory, asked.model_directory):
        if (folder / _FILE).is_file():
            return folder / _FILE
    return None


def _made(asked: _Asked, file: Path | None, version: tuple[int, ...] | None) -> Interpreter:
    where = f"model '{asked.model_name}': {file}" if file else asked.where("python")
    requirements = read_requirements(file, asked.environment) if file else None
    if version is None:
        base = Path(own_interpreter().argv[0])
    else:
        base = find_python(version, asked.environment, asked.where("python"))
    hold = built(
        requirements,
        base,
        where=where,
        settings=asked.settings,
        environment=asked.environment,
        progress=asked.report,
    )
    place = hold.directory / "venv"
    return _checked(asked, place / "bin" / "python", variables(place, asked.environment), hold, where)


def _checked(asked: _Asked, python: Path, changes: Mapping[str, str], hold: Hold | None, where: str) -> Interpreter:
    answer = check(python, {**asked.environment, **changes}, where)
    wanted = asked.version()
    if wanted is not None and answer.python[: len(wanted)] != wanted:
        raise ConfigError(
            f"{where} is an environment of Python {_dotted(answer.python)}, but parameter 'python' asks for "
            f"{_dotted(wanted)}; leave 'python' out, or make the environment anew"
        )
    _warn(asked, answer)
    return Interpreter((str(python),), MappingProxyType(dict(changes)), answer.python[:2], hold)


def _warn(asked: _Asked, answer: Answer) -> None:
    if answer.numpy_is_old:
        asked.progress(
            f"its environment has numpy {answer.numpy}; models are tested with {_dotted(LEAST_NUMPY)} and later"
        )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
