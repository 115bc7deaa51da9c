"""Which machine and which versions a result belongs to."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def describe() -> dict[str, object]:
    """Figures are compared within one run only, but a reader wants to know where they were seen."""
    cores = len(os.sched_getaffinity(0))
    one_minute, _, _ = os.getloadavg()
    return {
        "processor": f"{_processor()}, {cores} cores",
        "load before the start (1 min)": f"{one_minute:.2f}",
        "system": platform.platform(),
        "Python": platform.python_version(),
        "atoll": f"{_version('atoll')} ({_revision()})",
        "onnxruntime": _version("onnxruntime"),
    }


def busy_warning() -> str | None:
    """What to say when other programs are using this machine; None when it is quiet enough to measure on."""
    one_minute, _, _ = os.getloadavg()
    cores = len(os.sched_getaffinity(0))
    if one_minute < 0.25 * cores:
        return None
    return f"warning: the machine is busy (load {one_minute:.2f} on {cores} cores); expect ratios to wander"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    except OSError:
        return "no git"
    return done.stdout.strip() or "not a git checkout"
