"""What a child's interpreter may be, and what it sees: any Python from 3.10 on, and nothing of the server's own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.isolation.children import HERE, Nursery

import atoll

pytestmark = pytest.mark.slow  # it starts one process of each Python

LOOK = (
    "import json, atoll\n"
    "data.sendall(json.dumps({'path': sys.path, 'modules': sorted(sys.modules), 'atoll': atoll.__file__, "
    "'version': sys.version_info[:2]}).encode())"
)


def interpreter(version: str) -> str | None:
    """A Python of that version on this machine, on the path or where pyenv keeps them."""
    on_path = shutil.which(f"python{version}")
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for one in [*([on_path] if on_path else []), *map(str, kept)]:
        asked = subprocess.run([one, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
        if asked.returncode == 0:  # pyenv's stand-ins on the path fail for versions that are switched off
            return asked.stdout.strip()
    return None


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_other_versions_of_python(nursery: Nursery, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    seen = json.loads(nursery.start(LOOK, python=(python, "-W", "error")).said())
    assert seen["version"] == [int(part) for part in version.split(".")]
    zygote = nursery.zygote("shared = 'loaded'", python=(python,))
    assert nursery.start("data.sendall(shared.encode())", zygote=zygote).said() == "loaded"
    crashed = nursery.start("ctypes.string_at(0)", python=(python,), setup={"file": "model.py"})
    assert crashed.reason().endswith("(SIGSEGV: invalid memory access in native code) in <module>, model.py:1")


def test_a_bare_interpreter_sees_our_folder_and_nothing_beside_it(nursery: Nursery) -> None:
    """-S: without any site-packages, as in an environment that has nothing."""
    seen = json.loads(nursery.start(LOOK, python=(sys.executable, "-S")).said())
    assert seen["atoll"] == atoll.__file__
    assert "" not in seen["path"]
    assert os.getcwd() not in seen["path"]
    source = str(Path(atoll.__file__).parents[1])
    assert [one for one in seen["path"] if "site-packages" in one or one == source] == []


def test_what_the_bootstrap_imports_is_little(nursery: Nursery, tmp_path: Path) -> None:
    """A child's start is to be dominated by what its model imports."""
    host = "def serve(setup, data, regions):\n    import sys\n    data.sendall(' '.join(sys.modules).encode())\n"
    (tmp_path / "bare_host.py").write_text(host)
    started = nursery.start(
        python=(sys.executable, "-S"), host="bare_host:serve", environment={"PYTHONPATH": str(tmp_path)}
    )
    modules = set(started.said().split())
    ours = {one for one in modules if one.split(".")[0] == "atoll"}
    assert ours == {
        "atoll",
        "atoll.isolation",
        "atoll.isolation.child",
        "atoll.isolation.child_control",
        "atoll.isolation.limits",
    }
    heavy = {"numpy", "asyncio", "subprocess", "logging", "threading", "traceback", "multiprocessing", "dataclasses"}
    assert not heavy & modules


def test_pb_utils_is_ours_under_both_of_its_names(nursery: Nursery) -> None:
    code = (
        "before = 'numpy' in sys.modules\nimport triton_python_backend_utils as one, c_python_backend_utils as two\n"
        "data.sendall(f'{one is two} {one.__name__} {one.__spec__.name} {before}'.encode())"
    )
    expected = "True atoll.backends.python.utils atoll.backends.python.utils False"
    assert nursery.start(code).said() == expected


def test_one_of_the_models_own_does_not_hide_ours(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "triton_python_backend_utils.py").write_text("raise RuntimeError('the stub of some IDE')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{HERE}"}
    code = "import triton_python_backend_utils as one; data.sendall(one.__name__.encode())"
    assert nursery.start(code, environment=environment).said() == "atoll.backends.python.utils"


def test_the_working_directory_and_the_variables(nursery: Nursery, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(HERE), "ONLY": "this"}
    code = "data.sendall(f\"{os.getcwd()} {os.environ['ONLY']} {'HOME' in os.environ}\".encode())"
    started = nursery.start(code, environment=environment, working_directory=str(tmp_path))
    assert started.said() == f"{tmp_path} this False"


def test_large_orders_arrive(nursery: Nursery) -> None:
    code = f"text = '{'x' * (8 << 20)}'; data.sendall(str(len(text)).encode())"
    assert nursery.start(code).said() == str(8 << 20)


def test_a_process_is_named_after_its_instance(nursery: Nursery) -> None:
    started = nursery.start("data.sendall(b'hi')", name="a_model_with_a_long_name_0_1")
    started.said()
    assert Path(f"/proc/{started.child.pid}/comm").read_text() == "a_long_name_0_1\n"
