"""What a child process imports runs in any model's environment: a Python from 3.10, the standard library, and numpy.

A module that says so of itself ("... on Python 3.10 and later") is held to it, with everything that it imports: by its
syntax, and by a real import in bare interpreters, an old one among them.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
OURS = {"atoll", "triton_python_backend_utils"}
PROMISE = "Python 3.10 and later"
ENTRANCES = {  # where a child's life begins: these must promise it
    "atoll.errors",
    "atoll.tensor",
    "atoll.isolation.arena",
    "atoll.isolation.child",
    "atoll.isolation.service",
    "atoll.isolation.wire",
    "atoll.isolation.zygote_child",
    "atoll.backends.python.host",
    "atoll.backends.python.hosted",
}
OPTIONAL = {"ml_dtypes"}  # has numpy's dtype for BF16
OLDEST = (3, 10)
OLDEST_NUMPY = "numpy==1.26.4"  # as pyproject.toml has it

# In some interpreter's library, and not in that of every Python from 3.10 on.
_COME_OR_GONE = (
    "aifc annotationlib asynchat asyncore audioop binhex cgi cgitb chunk compression crypt distutils imghdr imp "
    "lib2to3 mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib tomllib uu xdrlib"
)
NOT_EVERYWHERE = set(_COME_OR_GONE.split())
LIBRARY = sys.stdlib_module_names - NOT_EVERYWHERE
NEWER = {  # what modules have had since 3.11 or later; the real import finds what is used and missing here
    "typing": "Self LiteralString Never NotRequired Required Unpack TypeVarTuple assert_never assert_type reveal_type "
    "dataclass_transform override TypeAliasType TypeIs ReadOnly NoDefault get_overloads clear_overloads",
    "enum": "StrEnum ReprEnum EnumCheck FlagBoundary verify member nonmember property global_enum show_flag_values",
    "asyncio": "timeout timeout_at TaskGroup Runner Barrier eager_task_factory QueueShutDown",
    "datetime": "UTC",
    "contextlib": "chdir",
    "hashlib": "file_digest",
    "inspect": "getmembers_static markcoroutinefunction getasyncgenstate BufferFlags",
    "itertools": "batched",
    "logging": "getLevelNamesMapping getHandlerNames",
    "math": "cbrt exp2 sumprod fma",
    "operator": "call",
    "os": "process_cpu_count unshare setns PIDFD_NONBLOCK",
    "sys": "exception monitoring activate_stack_trampoline",
    "threading": "setprofile_all_threads settrace_all_threads",
    "types": "get_original_bases CapsuleType",
    "warnings": "deprecated",
    "builtins": "ExceptionGroup BaseExceptionGroup PythonFinalizationError",
}
TOO_NEW = {(module, name) for module, names in NEWER.items() for name in names.split()}


def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(found) > 20, f"no source under {SOURCE}"
    return found


def parsed(source: str, name: str) -> ast.Module:
    return ast.parse(source, name, feature_version=OLDEST)


def optional(tree: ast.Module) -> set[str]:
    """Those of OPTIONAL that are looked for in a function, which goes on without them."""
    return {
        name
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for attempt in ast.walk(function)
        if isinstance(attempt, ast.Try) and any("ImportError" in ast.unparse(one) for one in attempt.handlers)
        for name in imported(ast.Module(attempt.body, []))
        if name.split(".")[0] in OPTIONAL
    }


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, but for what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for one in child.orelse:
                yield one
                yield from at_run_time(one)
            continue
        yield child
        yield from at_run_time(child)


def imported(tree: ast.Module) -> set[str]:
    """Dotted names, in functions too."""
    found = set()
    for node in at_run_time(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def mistakes(source: str, name: str) -> list[str]:
    """What a child's module does that a model's environment may not have."""
    try:
        tree = parsed(source, name)
    except SyntaxError as error:
        return [f"{name}:{error.lineno}: {error.msg}"]
    wrong = [
        f"{name} imports {one}"
        for one in sorted(imported(tree) - optional(tree))
        if one.split(".")[0] not in {*LIBRARY, *OURS, "numpy"}
    ]
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    for node in at_run_time(tree):
        used: tuple[str, str] | None = None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = (node.value.id, node.attr)
        elif isinstance(node, ast.Name):
            used = ("builtins", node.id)
        if isinstance(node, ast.ImportFrom):
            wrong += [
                f"{name} imports {node.module}.{one.name}" for one in node.names if _too_new(node.module, one.name)
            ]
        elif used in TOO_NEW and not (lazy and _only_annotates(node, tree)):
            wrong.append(f"{name} uses {used[0]}.{used[1]}")
        elif isinstance(node, ast.Attribute) and node.attr == "add_note":
            wrong.append(f"{name} uses an exception's add_note")
    return wrong


def _too_new(module: str | None, name: str) -> bool:
    return (module or "", name) in TOO_NEW


def _only_annotates(node: ast.AST, tree: ast.Module) -> bool:
    for one in ast.walk(tree):
        annotations = []
        if isinstance(one, (ast.arg, ast.AnnAssign)):
            annotations.append(one.annotation)
        elif isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            annotations.append(one.returns)
        if any(part is node for annotation in annotations if annotation is not None for part in ast.walk(annotation)):
            return True
    return False


def promises(path: Path) -> bool:
    return PROMISE in " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())


def closure() -> dict[str, Path]:
    """Every module of ours that a child may import."""
    known = modules()
    waiting = [name for name, path in known.items() if promises(path)]
    waiting += [name for name in known if name.startswith(("atoll.backends.python.utils", "triton_python_backend"))]
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        while name and name not in known:  # a class or a function of a module
            name = name.rpartition(".")[0]
        if not name or name in found:
            continue
        found[name] = known[name]
        waiting += [one for one in imported(ast.parse(known[name].read_text())) if one.split(".")[0] in OURS]
        waiting.append(name.rpartition(".")[0])  # the package, which is imported first
    return found


CLOSURE = closure()


def test_the_entrances_promise_it() -> None:
    assert [name for name in sorted(ENTRANCES) if not promises(modules()[name])] == []


@pytest.mark.parametrize("name", sorted(CLOSURE))
def test_a_childs_module_needs_the_library_and_numpy_only(name: str) -> None:
    assert mistakes(CLOSURE[name].read_text(), name) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import orjson", "imports orjson"),
        ("def f():\n    from google.protobuf import json_format", "imports google.protobuf.json_format"),
        ("try:\n    import uvloop\nexcept ImportError:\n    pass", "imports uvloop"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import yaml", "imports yaml"),
        ("try:\n    import ml_dtypes\nexcept ImportError:\n    ml_dtypes = None", "imports ml_dtypes"),
        ("def f():\n    import ml_dtypes", "imports ml_dtypes"),
        ("import tomllib", "imports tomllib"),
        ("from typing import Self", "imports typing.Self"),
        ("from enum import Enum, StrEnum", "imports enum.StrEnum"),
        ("import typing\ndef f() -> typing.Self: ...", "uses typing.Self"),
        ("import asyncio\nasync def f():\n    async with asyncio.timeout(1): ...", "uses asyncio.timeout"),
        ("def f():\n    raise ExceptionGroup('', [])", "uses builtins.ExceptionGroup"),
        ("try:\n    f()\nexcept OSError as error:\n    error.add_note('')", "add_note"),
        ("try:\n    f()\nexcept* OSError:\n    pass", "3.11"),
    ],
)
def test_a_planted_violation_is_found(source: str, found: str) -> None:
    (wrong,) = mistakes(source, "planted")
    assert found in wrong


@pytest.mark.parametrize(
    "source",
    [
        "import os, socket, numpy as np\nfrom atoll.errors import AtollError\nimport numpy.typing",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n    from typing import Self",
        "from __future__ import annotations\nimport typing\ndef f(x: typing.Self) -> list[typing.Self]: ...",
        "def f():\n    try:\n        from ml_dtypes import bfloat16\n    except ImportError:\n        return None",
        "def f(x):\n    match x:\n        case 1: pass\n    with (open(x) as a, open(x) as b): pass",
    ],
)
def test_what_every_environment_has_is_no_violation(source: str) -> None:
    assert mistakes(source, "planted") == []


# ---- for real

IMPORTING = """
import sys
from importlib import import_module
sys.path[:0] = sys.argv[1].split(":")
for name in sys.argv[2:]:
    import_module(name)
allowed = {*sys.stdlib_module_names, "numpy", "atoll", "triton_python_backend_utils", "__main__"}
found = {name.split(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}
print(sorted(found - allowed))
"""


def import_in(python: str, folders: list[Path], names: list[str]) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter without site-packages, PYTHON* variables or the current folder imports them all."""
    command = [python, "-I", "-S", "-B", "-c", IMPORTING]
    return subprocess.run(
        [*command, os.pathsep.join(map(str, folders)), *names], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with our packages and nothing else."""
    for name in OURS:
        if (SOURCE / name).exists():
            (tmp_path / name).symlink_to(SOURCE / name)
    return tmp_path


def test_an_environment_with_numpy_alone_is_enough(bare: Path) -> None:
    spec = find_spec("numpy")
    assert spec is not None
    assert spec.origin is not None
    for folder in Path(spec.origin).parents[1].glob("numpy*"):  # and the libraries beside it
        (bare / folder.name).symlink_to(folder)
    done = import_in(sys.executable, [bare], sorted(CLOSURE))
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_what_is_installed_elsewhere_is_not_found_there(bare: Path) -> None:
    done = import_in(sys.executable, [bare], ["numpy"])
    assert "No module named 'numpy'" in done.stderr, "the test above proves nothing"


def oldest_pythons() -> Iterator[str]:
    version = ".".join(map(str, OLDEST))
    if found := shutil.which(f"python{version}"):
        yield found
    yield from map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"):
        done = subprocess.run([uv, "python", "find", "--no-python-downloads", version], capture_output=True, text=True)
        if done.returncode == 0:
            yield done.stdout.strip()


def runs_oldest(python: str) -> bool:
    """A version manager's stand-in may be there without any Python behind it."""
    code = f"import sys; sys.exit(sys.version_info[:2] != {OLDEST})"
    return subprocess.run([python, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_the_oldest_python_with_the_oldest_numpy_is_enough(bare: Path, pytestconfig: pytest.Config) -> None:
    python = next((one for one in oldest_pythons() if runs_oldest(one)), None)
    if python is None:
        pytest.skip("no Python 3.10 is installed here")
    folder = Path(pytestconfig.cache.mkdir("numpy-for-python3.10")) / OLDEST_NUMPY.replace("=", "-")
    if not folder.exists():  # once: the folder is kept with what pytest remembers
        partial = folder.with_name(f"{folder.name}-{os.getpid()}")
        command = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", partial, OLDEST_NUMPY]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        if done.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            pytest.skip(f"{OLDEST_NUMPY} cannot be installed for Python 3.10: {done.stderr.strip()[-300:]}")
        partial.rename(folder)
    done = import_in(python, [bare, folder], sorted(CLOSURE))
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
