"""A CUDA driver whose GPUs' memory is the process's own: fake_cuda.c, compiled."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest


def build_library(folder: Path) -> ctypes.CDLL:
    """Skips where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    built = folder / "libfake.so"
    source = Path(__file__).with_name("fake_cuda.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, source], check=True, timeout=60)
    return ctypes.CDLL(str(built))
