"""Which Python a model gets, with uv and real environments, from parameters, files and settings."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.backends.python.environments.interpreter import Interpreter, own_interpreter
from atoll.backends.python.environments.pythons import find_python
from atoll.errors import ConfigError, MissingExtraError, UnavailableError

OWN = (sys.version_info[0], sys.version_info[1])


def answer(interpreter: Interpreter, bench, code: str) -> str:  # type: ignore[no-untyped-def]
    """What the code prints in the environment."""
    done = subprocess.run(
        [*interpreter.argv, "-c", code],
        env={**bench.environment, **interpreter.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_a_model_that_asks_for_nothing_runs_in_the_servers_own_python(bench) -> None:  # type: ignore[no-untyped-def]
    found = bench.choose()
    assert (found.argv, dict(found.environment), found.version) == ((sys.executable,), {}, OWN)
    assert bench.kept == []


def test_requirements_beside_model_py_make_an_environment_once(bench, make_wheel) -> None:  # type: ignore[no-untyped-def]
    make_wheel("tiny", "1.5")
    bench.require("tiny  # the newest\n")
    first = bench.choose()
    assert answer(first, bench, "import tiny, numpy; print(tiny.VERSION, numpy.__version__)") == "1.5 1.26.9"
    assert first.version == OWN
    assert any("makes the environment" in line for line in bench.said)
    assert all(line.startswith("model 'reader': ") for line in bench.said)
    bench.said.clear()
    bench.require("# another remark\ntiny\n")
    assert bench.choose().argv == first.argv
    assert bench.said == []
    assert len(bench.kept) == 1


def test_the_environment_sees_nothing_of_the_servers_packages(bench) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy\n")
    found = bench.choose()
    look = "import importlib.util as u; print(u.find_spec('atoll'), u.find_spec('pytest'))"
    assert answer(found, bench, look) == "None None"
    assert answer(found, bench, "import os; print(os.environ['PATH'].split(':')[0])") == str(Path(found.argv[0]).parent)


def test_the_file_in_the_versions_folder_wins_over_the_models(bench, make_wheel) -> None:  # type: ignore[no-untyped-def]
    make_wheel("tiny", "1.0")
    make_wheel("tiny", "2.0")
    bench.require("tiny==1.0", folder=".")
    assert answer(bench.choose(), bench, "import tiny; print(tiny.VERSION)") == "1.0"
    bench.require("tiny==2.0")
    assert answer(bench.choose(), bench, "import tiny; print(tiny.VERSION)") == "2.0"


def test_requirements_can_be_named_or_passed_over(bench, make_wheel) -> None:  # type: ignore[no-untyped-def]
    make_wheel("tiny", "1.0")
    bench.require("nothing-of-that-name")
    (bench.model / "serving.txt").write_text("tiny")
    named = bench.choose({"requirements": "serving.txt"})
    assert answer(named, bench, "import tiny; print(tiny.VERSION)") == "1.0"
    assert bench.choose({"requirements": "none"}).argv == (sys.executable,)
    bench.settings["use-requirements"] = "false"
    assert bench.choose().argv == (sys.executable,)
    assert bench.choose({"requirements": "serving.txt"}).argv == named.argv
    with pytest.raises(ConfigError, match=r"model 'reader': parameter 'requirements' is 'absent.txt', but there is no"):
        bench.choose({"requirements": "absent.txt"})


def test_a_local_wheel_that_changes_makes_another_environment(bench, make_wheel) -> None:  # type: ignore[no-untyped-def]
    wheel = make_wheel("inside", "1.0", "WHAT = 'old'\n")
    shutil.move(wheel, bench.model / "1" / wheel.name)
    bench.require(f"./{wheel.name}")
    assert answer(bench.choose(), bench, "import inside; print(inside.WHAT)") == "old"
    wheel = make_wheel("inside", "1.0", "WHAT = 'new'\n")
    shutil.move(wheel, bench.model / "1" / wheel.name)
    assert answer(bench.choose(), bench, "import inside; print(inside.WHAT)") == "new"
    assert len(bench.kept) == 2


def test_what_uv_cannot_find_is_said_with_the_file_and_leaves_nothing(bench) -> None:  # type: ignore[no-untyped-def]
    path = bench.require("nothing-of-that-name==1.0\n")
    with pytest.raises(ConfigError, match="nothing-of-that-name") as caught:
        bench.choose()
    assert str(caught.value).startswith(f"model 'reader': {path}: no environment can be made")
    assert bench.kept == []


def test_a_numpy_too_old_for_models_is_told_of(bench, make_wheel) -> None:  # type: ignore[no-untyped-def]
    make_wheel("numpy", "1.20.0")
    bench.require("numpy==1.20.0\n")
    with pytest.raises(ConfigError, match=r"; models need numpy>=1\.26"):
        bench.choose()


def test_names_and_passwords_of_an_index_are_not_shown(bench) -> None:  # type: ignore[no-untyped-def]
    bench.require("nothing-of-that-name")
    del bench.environment["UV_NO_INDEX"]
    bench.environment["UV_HTTP_RETRIES"] = "0"
    bench.settings |= {"offline": "false", "index-url": "http://ada:s3cret@127.0.0.1:9/simple"}
    with pytest.raises(ConfigError, match="index-url=URL names another index") as caught:
        bench.choose()
    assert "s3cret" not in str(caught.value) + "".join(bench.said)
    assert "127.0.0.1:9" in str(caught.value)


def test_without_uv_the_error_names_the_extra(bench, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy")
    monkeypatch.setitem(sys.modules, "uv", None)
    bench.environment["PATH"] = "/nowhere"
    with pytest.raises(MissingExtraError, match=r"pip install 'atoll\[environments\]'"):
        bench.choose({"requirements": "1/requirements.txt"})
    assert bench.kept == []


def test_without_uv_a_file_that_is_only_there_is_not_used(bench, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy")
    monkeypatch.setitem(sys.modules, "uv", None)
    bench.environment["PATH"] = "/nowhere"
    assert bench.choose().argv == own_interpreter().argv
    assert any("requirements.txt is not used" in line and "atoll[environments]" in line for line in bench.said)


def test_uv_on_the_path_is_taken_where_the_package_is_not(  # type: ignore[no-untyped-def]
    bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from uv import find_uv_bin

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").symlink_to(find_uv_bin())
    monkeypatch.setitem(sys.modules, "uv", None)
    bench.environment["PATH"] = f"{tmp_path / 'bin'}:{bench.environment['PATH']}"
    bench.require("numpy")
    assert answer(bench.choose(), bench, "import numpy; print(numpy.__version__)") == "1.26.9"


def test_an_environment_that_lost_its_python_is_made_again(bench) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy")
    python = Path(bench.choose().argv[0])
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert answer(bench.choose(), bench, "print(1)") == "1"
    assert len(bench.kept) == 1


def test_requirements_with_hashes_must_bring_numpy_themselves(bench, make_wheel) -> None:  # type: ignore[no-untyped-def]
    import hashlib

    digest = hashlib.sha256(make_wheel("tiny", "1.0").read_bytes()).hexdigest()
    bench.require(f"--require-hashes\ntiny==1.0 \\\n  --hash=sha256:{digest}\n")
    with pytest.raises(ConfigError, match="cannot import numpy, which every Python model needs"):
        bench.choose()
    numpy = hashlib.sha256((bench.model.parent / "links/numpy-1.26.9-py3-none-any.whl").read_bytes()).hexdigest()
    path = bench.require(f"--require-hashes\ntiny==1.0 --hash=sha256:{digest}\nnumpy==1.26.9 --hash=sha256:{numpy}\n")
    assert answer(bench.choose(), bench, "import tiny; print(tiny.VERSION)") == "1.0"
    path.write_text(path.read_text().replace(numpy, "0" * 64))
    with pytest.raises(ConfigError, match="Hash mismatch"):
        bench.choose()


# ---- another Python


def another(bench) -> tuple[str, tuple[int, int]]:  # type: ignore[no-untyped-def]
    """A version of Python that is installed here beside the test's own."""
    for version in ((3, 10), (3, 11), (3, 12), (3, 13), (3, 14)):
        if version != OWN:
            try:
                find_python(version, bench.environment, "the test")
            except ConfigError:
                continue
            return ".".join(map(str, version)), version
    pytest.skip("uv finds no second version of Python on this machine")


def test_another_version_of_python_runs_the_model(bench, make_wheel) -> None:  # type: ignore[no-untyped-def]
    text, version = another(bench)
    alone = bench.choose({"python": text})
    assert alone.version == version
    assert answer(alone, bench, "import sys, numpy; print(*sys.version_info[:2])") == "{} {}".format(*version)
    make_wheel("tiny", "1.0")
    bench.require("tiny")
    with_packages = bench.choose({"python": text})
    assert with_packages.version == version
    assert with_packages.argv != alone.argv
    assert answer(with_packages, bench, "import tiny; print(tiny.VERSION)") == "1.0"
    assert bench.choose().version == OWN
    assert len(bench.kept) == 3


def test_the_servers_own_version_needs_no_environment(bench) -> None:  # type: ignore[no-untyped-def]
    for parts in (2, 3):
        text = ".".join(map(str, sys.version_info[:parts]))
        assert bench.choose({"python": text}).argv == (sys.executable,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3.9", "is '3.9', but models need Python 3.10 or later"),
        ("2.7", "must be a version of Python such as 3.12"),
        ("pypy", "must be a version of Python such as 3.12"),
        ("--help", "must be a version of Python such as 3.12"),
        ("3.99", "asks for Python 3.99, which is not installed where uv looks"),
    ],
)
def test_a_python_that_cannot_be(bench, text: str, expected: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="model 'reader': parameter 'python'") as caught:
        bench.choose({"python": text})
    assert expected in str(caught.value)


# ---- venv


@pytest.fixture
def virtual_environment(bench) -> Path:  # type: ignore[no-untyped-def]
    """In the model's folder, without numpy."""
    path = bench.model / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True, timeout=120)
    return path


def add_numpy(environment: Path, version: str = "2.1.0") -> None:
    (next(environment.glob("lib/python*/site-packages")) / "numpy.py").write_text(f"__version__ = '{version}'\n")


def test_a_virtual_environment_is_used_as_it_is(bench, virtual_environment: Path) -> None:  # type: ignore[no-untyped-def]
    add_numpy(virtual_environment)
    found = bench.choose({"venv": "env"})
    assert found.argv == (str(virtual_environment / "bin" / "python"),)
    assert found.environment["VIRTUAL_ENV"] == str(virtual_environment)
    assert answer(found, bench, "import sys; print(sys.prefix)") == str(virtual_environment)
    assert bench.choose({"venv": str(virtual_environment)}).argv == found.argv
    assert bench.choose({"venv": "$$TRITON_MODEL_DIRECTORY/env"}).argv == found.argv
    assert bench.kept == []
    add_numpy(virtual_environment, "1.24.4")
    bench.choose({"venv": "env"})
    os.utime(next(virtual_environment.glob("lib/python*/site-packages")))
    bench.choose({"venv": "env"})
    assert bench.said[-1] == "model 'reader': its environment has numpy 1.24.4; models are tested with 1.26 and later"


def test_a_virtual_environment_without_numpy_says_so(bench, virtual_environment: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=r"No module named 'numpy'; install numpy>=1\.26 there") as caught:
        bench.choose({"venv": "env"})
    assert str(caught.value).startswith("model 'reader': parameter 'venv': Python 3.")
    add_numpy(virtual_environment)
    assert bench.choose({"venv": "env"}).version == OWN


def test_two_environments_of_one_python_are_told_apart(bench, virtual_environment: Path) -> None:  # type: ignore[no-untyped-def]
    add_numpy(virtual_environment)
    other = bench.model / "other"
    shutil.copytree(virtual_environment, other, symlinks=True)
    next(other.glob("lib/python*/site-packages/numpy.py")).unlink()
    for environment in (virtual_environment, other):
        os.utime(next(environment.glob("lib/python*/site-packages")), (1, 1))
    assert bench.choose({"venv": "env"}).version == OWN
    with pytest.raises(ConfigError, match="cannot import numpy"):
        bench.choose({"venv": "other"})


@pytest.mark.parametrize("text", ["absent", "1", "x" * 5000, "nul\0"])
def test_a_virtual_environment_that_is_none(bench, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="model 'reader': parameter 'venv' is '"):
        bench.choose({"venv": text})


def test_an_environment_of_another_machine_is_told_of(bench) -> None:  # type: ignore[no-untyped-def]
    (bench.model / "env" / "bin").mkdir(parents=True)
    (bench.model / "env" / "bin" / "python").symlink_to("/opt/elsewhere/python3.10")
    with pytest.raises(ConfigError, match=r"is a link to /opt/elsewhere/python3.10, which is not on this machine"):
        bench.choose({"venv": "env"})


def test_an_environment_of_another_python_than_asked_for(bench, virtual_environment: Path) -> None:  # type: ignore[no-untyped-def]
    add_numpy(virtual_environment)
    other = "3.10" if OWN != (3, 10) else "3.12"
    with pytest.raises(ConfigError, match=f"but parameter 'python' asks for {other}"):
        bench.choose({"venv": "env", "python": other})


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 3", "does not run as a Python (exit status 3)"),
        ('echo \'{"python": [3, 8, 1], "numpy": "1.2", "problem": null, "base": "/"}\'', "is Python 3.8.1, but"),
        ("echo '{\"python\": 3}'", "does not run as a Python"),
        ("yes | head -c 3000000", "does not run as a Python"),
    ],
)
def test_a_program_that_is_no_usable_python(bench, script: str, expected: str) -> None:  # type: ignore[no-untyped-def]
    program = bench.model / "env" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(ConfigError, match="cannot be started: Permission denied"):
        bench.choose({"venv": "env"})
    program.chmod(0o755)
    with pytest.raises(ConfigError) as caught:
        bench.choose({"venv": "env"})
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 2000


# ---- the disk


FULL = """
import os, subprocess, sys
from pathlib import Path
from atoll.backends.python.environments import interpreter_for
from atoll.errors import UnavailableError

disk, model, links, parameter = (Path(one) for one in sys.argv[1:])
done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)])
if done.returncode:
    sys.exit(77)
parameters = {"EXECUTION_ENV_PATH": str(parameter)} if parameter.name else {}
settings = {"environment-cache-directory": str(disk), "find-links": str(links), "offline": "true"}
try:
    interpreter_for(model_name="reader", model_directory=model, version_directory=model / "1", parameters=parameters,
                    settings=settings, environment={**os.environ, "UV_NO_INDEX": "1"}, progress=print)
except UnavailableError as error:
    print("UNAVAILABLE", error)
print("LEFT", sorted(one.name for one in disk.iterdir() if len(one.name) == 40))
"""


@pytest.mark.parametrize("kind", ["requirements", "archive"])
def test_a_full_disk_is_said_and_what_was_begun_is_gone(  # type: ignore[no-untyped-def]
    bench, make_wheel, tmp_path: Path, kind: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    archive = ""
    if kind == "requirements":
        make_wheel("large", code=f"TEXT = '{os.urandom(400_000).hex()}'\n")
        bench.require("large")
    else:
        (tmp_path / "packed" / "bin").mkdir(parents=True)
        (tmp_path / "packed" / "bin" / "python").write_bytes(os.urandom(800_000))
        archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path / "packed")
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-c", FULL]
    try:
        done = subprocess.run(
            [*command, str(disk), str(bench.model), str(tmp_path / "links"), archive],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("this machine has no unshare, with which a small disk is mounted")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    assert "UNAVAILABLE model 'reader': " in done.stdout, done.stdout + done.stderr
    assert "is full" in done.stdout
    assert "environment-cache-directory=DIR" in done.stdout
    assert done.stdout.endswith("LEFT []\n")


def test_a_cache_that_cannot_be_written_is_said(bench) -> None:  # type: ignore[no-untyped-def]
    bench.require("numpy")
    bench.settings["environment-cache-directory"] = "/proc/environments"
    with pytest.raises(UnavailableError, match=r"no environment can be made: /proc/environments: "):
        bench.choose()
