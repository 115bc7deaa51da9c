"""The variables of an environment that was made elsewhere: what its bin/activate sets, and what every one needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

_TIMEOUT_S = 60
_PRINT = 'source "$1" >/dev/null 2>&1 </dev/null; exec env -0'
_SHELLS_OWN = {"_", "SHLVL", "PWD", "OLDPWD", "PS1"}


def variables(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Those of a virtual environment: its programs come first, and no other environment's home or packages are seen."""
    found = {
        "PATH": _in_front(directory / "bin", environment.get("PATH", os.defpath)),
        "PYTHONHOME": "",
    }
    if (directory / "pyvenv.cfg").is_file():
        found["VIRTUAL_ENV"] = str(directory)
    if environment.get("VIRTUAL_ENV") and "VIRTUAL_ENV" not in found:
        found["VIRTUAL_ENV"] = ""
    return found


def activated(directory: Path, environment: Mapping[str, str], progress: Callable[[str], None]) -> dict[str, str]:
    """What `source bin/activate` changes, as the real server runs it before a model: conda's packages bring scripts
    that set variables. The environment's libraries come first, too. Without bash, or where the script fails, what every
    environment needs.
    """
    found: dict[str, str] = {}
    script = directory / "bin" / "activate"
    bash = shutil.which("bash", path=environment.get("PATH", os.defpath))
    if script.is_file() and bash:
        try:
            done = subprocess.run(
                [bash, "--noprofile", "--norc", "-c", _PRINT, "activate", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(environment),
                cwd=directory,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            progress(f"{script} did not run, and what it sets is missing: {error}")
        else:
            before = environment
            for entry in done.stdout.split(b"\0"):
                name, separator, value = os.fsdecode(entry).partition("=")
                if separator and name not in _SHELLS_OWN and before.get(name) != value:
                    found[name] = value
            if done.returncode != 0:
                progress(f"{script} ended with exit status {done.returncode}; what it sets may be missing")
    found |= variables(directory, {**environment, **found})
    if (directory / "lib").is_dir():
        libraries = found.get("LD_LIBRARY_PATH", environment.get("LD_LIBRARY_PATH", ""))
        found["LD_LIBRARY_PATH"] = _in_front(directory / "lib", libraries)
    found.setdefault("PYTHONNOUSERSITE", environment.get("PYTHONNOUSERSITE", "1"))
    return found


def _in_front(folder: Path, path: str) -> str:
    """The search path with this folder first, and once."""
    rest = [one for one in path.split(os.pathsep) if one and one != str(folder)]
    return os.pathsep.join([str(folder), *rest])
