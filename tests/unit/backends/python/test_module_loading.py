"""Importing a model's module: in a process of its own as the real server does it, and side by side with others."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.backends.python.recording import write_model

from atoll.backends.python.module_loading import load_module, unload_module
from atoll.errors import InternalError

SHOW = """
import json, sys
seen = {"name": __name__, "package": __package__, "file": __file__}
from . import sibling
import sibling as again
from .sub import inner
import inner_model
seen["siblings"] = [sibling.__name__, again.__name__, inner.__name__, inner_model.__name__]
seen["init"] = getattr(sys.modules[__package__], "INIT", None)
import asyncio
seen["asyncio"] = hasattr(asyncio, "run")
"""
FILES = {
    "1/__init__.py": "INIT = __name__\n",
    "1/sibling.py": "VALUE = 1\n",
    "1/asyncio.py": "raise ValueError('shadows the standard library')\n",
    "1/sub/inner.py": "from .. import sibling\n",
    "inner_model.py": "",
}
CHILD = """
import json, sys
from pathlib import Path
from atoll.backends.python.module_loading import load_module
file = Path(sys.argv[1])
before = list(sys.path)
module = load_module(file, version=1, own_process=True)
again = load_module(file, version=1, own_process=True)
print(json.dumps({**module.seen, "path": sys.path[len(before):], "known": sys.modules[module.__name__] is again}))
"""


def test_a_process_of_its_own_sees_what_the_real_server_shows(tmp_path: Path) -> None:
    """The names and the path are those that the real server's process has."""
    file = write_model(tmp_path / "m", SHOW, files=FILES)
    done = subprocess.run([sys.executable, "-c", CHILD, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "name": "1.model",
        "package": "1",
        "file": str(file),
        "siblings": ["1.sibling", "sibling", "1.sub.inner", "inner_model"],
        "init": "1",
        "asyncio": True,
        "path": [str(file.parent), str(file.parent.parent)],
        "known": True,
    }
    assert not list(tmp_path.rglob("__pycache__"))


def test_side_by_side_the_same_imports_work_and_nothing_is_left(tmp_path: Path) -> None:
    file = write_model(tmp_path / "m", SHOW, files=FILES)
    path, modules, finders = list(sys.path), set(sys.modules), list(sys.meta_path)
    module = load_module(file, version=1, own_process=False)
    package = module.__name__.removesuffix(".model")
    assert module.seen == {
        "name": f"{package}.model",
        "package": package,
        "file": str(file),
        "siblings": [f"{package}.{name}" for name in ("sibling", "sibling", "sub.inner", "inner_model")],
        "init": package,
        "asyncio": True,
    }
    assert sys.path == path
    unload_module(module)
    assert not [name for name in set(sys.modules) - modules if package in name]
    assert sys.meta_path == finders


def test_imports_inside_functions_are_the_models_own(tmp_path: Path) -> None:
    code = "def value():\n    import extra.deep\n    from extra import deep\n    return extra.deep.VALUE, deep.VALUE\n"
    models = []
    for number in (1, 2):
        files = {"1/extra/__init__.py": "", "1/extra/deep.py": f"VALUE = {number}\n"}
        models.append(
            load_module(write_model(tmp_path / f"m{number}", code, files=files), version=1, own_process=False)
        )
    assert [model.value() for model in models] == [(1, 1), (2, 2)]
    assert "extra" not in sys.modules
    for model in models:
        unload_module(model)


def test_a_folder_named_like_a_package_does_not_hide_it(tmp_path: Path) -> None:
    file = write_model(tmp_path / "m", "import numpy\nwhere = numpy.__file__\n", files={"1/numpy/weights.txt": "x"})
    module = load_module(file, version=1, own_process=False)
    assert str(tmp_path) not in module.where
    unload_module(module)


def test_the_same_file_twice_is_two_modules(tmp_path: Path) -> None:
    file = write_model(tmp_path / "m", "STATE = []\n")
    first, second = (load_module(file, version=1, own_process=False) for _ in range(2))
    assert first.STATE is not second.STATE
    unload_module(first)
    assert importlib.import_module(second.__name__) is second
    unload_module(second)


def test_a_file_that_is_no_versions_is_imported_by_itself(tmp_path: Path) -> None:
    (tmp_path / "backend").mkdir()
    file = tmp_path / "backend" / "model.py"
    file.write_text("import beside\nVALUE = beside.VALUE\n")
    (tmp_path / "backend" / "beside.py").write_text("VALUE = 3\n")
    module = load_module(file, version=1, own_process=False)
    assert module.VALUE == 3
    unload_module(module)
    code = CHILD.replace("module.seen", '{"value": module.VALUE, "name": module.__name__}')
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "value": 3,
        "name": "model",
        "path": [str(file.parent)],
        "known": True,
    }


@pytest.mark.parametrize("where", ["1/model.py", "1/__init__.py", "1/sibling.py"])
def test_a_failed_import_leaves_nothing(where: str, tmp_path: Path) -> None:
    modules, finders = set(sys.modules), list(sys.meta_path)
    file = write_model(
        tmp_path / "m", "from . import sibling\n", files={"1/sibling.py": "", where: "raise ValueError\n"}
    )
    with pytest.raises(ValueError):
        load_module(file, version=1, own_process=False)
    assert not [name for name in set(sys.modules) - modules if "atoll_model" in name]
    assert sys.meta_path == finders


def test_a_link_to_the_version_is_followed_no_further_than_its_name(tmp_path: Path) -> None:
    real = write_model(tmp_path / "elsewhere", "from . import sibling\nVALUE = sibling.VALUE\n", files=FILES)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1").symlink_to(real.parent, target_is_directory=True)
    module = load_module(tmp_path / "m" / "1" / "model.py", version=1, own_process=False)
    assert module.VALUE == 1
    unload_module(module)


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="Python model file not found in"):
        load_module(tmp_path / "model.py", version=1, own_process=False)
    with pytest.raises(InternalError, match=r"Model name must end with '\.py'"):
        load_module(tmp_path / "model.txt", version=1, own_process=False)
