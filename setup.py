"""Builds the native gRPC transport where a C compiler and libnghttp2 are found, and the guard of shared memory where a
compiler is; the rest is in pyproject.toml.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

FOLDER = "src/atoll/frontends/grpc/nghttp2"
SECURITY_OPTIONS = ("stream_reset_rate_limit", "max_continuations", "glitch_rate_limit")


def pkg_config(option: str) -> list[str]:
    if shutil.which("pkg-config") is None:
        return []
    answer = subprocess.run(["pkg-config", option, "libnghttp2"], capture_output=True, text=True, check=False)
    return shlex.split(answer.stdout) if answer.returncode == 0 else []


def header_text(compile_flags: list[str]) -> str:
    folders = [flag[2:] for flag in compile_flags if flag.startswith("-I")]
    for folder in [*folders, "/usr/include", "/usr/local/include", "/opt/homebrew/include"]:
        header = Path(folder, "nghttp2/nghttp2.h")
        if header.is_file():
            return header.read_text(errors="replace")
    return ""


def nghttp2_extension() -> Extension:
    compile_flags = [*pkg_config("--cflags"), *shlex.split(os.environ.get("ATOLL_NGHTTP2_CFLAGS", ""))]
    link_flags = [*(pkg_config("--libs") or ["-lnghttp2"]), *shlex.split(os.environ.get("ATOLL_NGHTTP2_LIBS", ""))]
    declared = set(re.findall(r"\bnghttp2_option_set_(\w+)\(", header_text(compile_flags)))
    return Extension(
        "atoll.frontends.grpc.nghttp2._nghttp2",
        [f"{FOLDER}/_nghttp2.pyx"],
        depends=[str(part) for part in sorted(Path(FOLDER).glob("_*.px[di]"))],
        define_macros=[(f"ATOLL_HAS_{name.upper()}", "1") for name in SECURITY_OPTIONS if name in declared],
        extra_compile_args=["-O2", "-g0", *compile_flags],
        extra_link_args=link_flags,
    )


def guard_extension() -> Extension:
    return Extension(
        "atoll.frontends.shared_memory._guarded",
        ["src/atoll/frontends/shared_memory/_guarded.pyx"],
        extra_compile_args=["-O2", "-g0"],
    )


# the generated C stays out of the package, and so out of the wheel
extensions = cythonize([nghttp2_extension(), guard_extension()], include_path=["src"], build_dir="build/cython")
for extension in extensions:
    # here, because cythonize makes new objects that have forgotten it
    extension.optional = os.environ.get("ATOLL_REQUIRE_NGHTTP2", "") != "1"  # that demands both
setup(ext_modules=extensions)
