"""A Python that can run a model: what starts it, and the check that it can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from atoll.backends.python.environments.store import Hold
from atoll.errors import ConfigError

LEAST_PYTHON = (3, 10)
LEAST_NUMPY = (1, 26)  # the oldest that the child's code is tested with
_CHECK_TIMEOUT_S = 120  # numpy from a cold network disk takes its time
_KEPT_CHECKS = 256

# Must run on any Python that a user may name by mistake, Python 2 included.
_QUESTION = """
import json, sys
version = numpy = problem = None
try:
    import numpy
    version = numpy.__version__
except ImportError:
    problem = str(sys.exc_info()[1])
except Exception:
    problem = "%s: %s" % sys.exc_info()[:2]
base = getattr(sys, "base_prefix", sys.prefix)
print("\\n" + json.dumps({"python": list(sys.version_info[:3]), "numpy": version, "problem": problem, "base": base}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that has been checked.

    `argv`: how it is started. `environment`: variables to set over the child's others, whole values (PATH with the
    environment's own programs in front); one that is set to "" must not be inherited. `hold`, where there is one,
    keeps the files from being cleaned up: keep this record for as long as processes run in it.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    version: tuple[int, int]
    hold: Hold | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Python says of itself. `numpy` is its version, or None with the `problem`; `base` where Python lies."""

    python: tuple[int, int, int]
    numpy: str | None
    problem: str
    base: str

    @property
    def numpy_is_old(self) -> bool:
        """Whether its numpy is older than what the child's code is tested with."""
        numbers = (self.numpy or "").split(".")[:2]
        return all(one.isdigit() for one in numbers) and tuple(map(int, numbers)) < LEAST_NUMPY


def own_interpreter() -> Interpreter:
    """The server's own Python, with all that is installed there."""
    if not sys.executable:
        raise ConfigError(
            "the program that embeds the server is no Python interpreter (sys.executable is empty), so that nothing "
            "can run a Python model in a process of its own; name one by the parameter 'venv' or 'python', or set "
            "'isolation' to 'thread'"
        )
    return Interpreter((sys.executable,), MappingProxyType({}), (sys.version_info[0], sys.version_info[1]))


_answers: OrderedDict[tuple[object, ...], Answer] = OrderedDict()
_answers_lock = threading.Lock()


def ask(python: Path, environment: Mapping[str, str]) -> Answer:
    """What this Python says of itself; asked once for as long as the file and where it looks for modules stay the same.

    Raises ValueError saying why it does not run.
    """
    key = _identity(python, environment)
    with _answers_lock:
        if key is not None and key in _answers:
            _answers.move_to_end(key)
            return _answers[key]
    answer = _ask(python, environment)
    if key is not None and answer.numpy is not None:
        with _answers_lock:
            _answers[key] = answer
            while len(_answers) > _KEPT_CHECKS:
                _answers.popitem(last=False)
    return answer


def check(python: Path, environment: Mapping[str, str], where: str) -> Answer:
    """The answer of a Python that can run models; for others raises ConfigError, which begins with `where`."""
    try:
        answer = ask(python, environment)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    version = ".".join(map(str, answer.python))
    if answer.python[:2] < LEAST_PYTHON:
        raise ConfigError(
            f"{where}: {python} is Python {version}, but models need {LEAST_PYTHON[0]}.{LEAST_PYTHON[1]} or later; "
            "make the environment with a later Python"
        )
    if answer.numpy is None:
        raise ConfigError(
            f"{where}: Python {version} at {python} cannot import numpy, which every Python model needs: "
            f"{answer.problem}; install numpy>={LEAST_NUMPY[0]}.{LEAST_NUMPY[1]} there"
        )
    return answer


def _identity(python: Path, environment: Mapping[str, str]) -> tuple[object, ...] | None:
    try:
        found = python.stat()
        packages = tuple(
            one.stat().st_mtime_ns for one in sorted(python.parent.parent.glob("lib/python*/site-packages"))
        )
    except OSError:
        return None
    looked = tuple(environment.get(name, "") for name in ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"))
    return (str(python), found.st_ino, found.st_size, found.st_mtime_ns, packages, looked)


def _ask(python: Path, environment: Mapping[str, str]) -> Answer:
    if not python.exists():
        raise ValueError(_absent(python))
    try:
        done = subprocess.run(
            [str(python), "-B", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(environment),
            timeout=_CHECK_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{python} did not answer for {_CHECK_TIMEOUT_S} s when asked for its version") from error
    except OSError as error:
        raise ValueError(f"{python} cannot be started: {error.strerror or error}") from error
    try:
        found = json.loads(done.stdout.decode(errors="replace").strip().rsplit("\n", 1)[-1])
        major, minor, micro = found["python"]
        return Answer((major, minor, micro), found["numpy"], str(found["problem"] or "")[:1000], str(found["base"]))
    except (ValueError, TypeError, KeyError) as error:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-1000:]
        raise ValueError(f"{python} does not run as a Python (exit status {done.returncode}): {said}") from error


def _absent(python: Path) -> str:
    if python.is_symlink():
        return (
            f"{python} is a link to {os.readlink(python)}, which is not on this machine; make the environment here, or "
            "give a requirements.txt from which it is made"
        )
    return f"there is no {python}"
