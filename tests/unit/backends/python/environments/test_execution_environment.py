"""EXECUTION_ENV_PATH: archives and folders as the real server takes them, unpacked once."""

import os
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from atoll.errors import ConfigError

MODEL = "$$TRITON_MODEL_DIRECTORY"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment as conda-pack packs one: a Python, its packages, bin/activate and bin/conda-unpack."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "numpy.py").write_text("__version__ = '2.0.0'\n")
    (folder / "bin" / "activate").write_text(
        "unset LEFT_OUT\nexport PROJ_DATA='/there/a b'\nexport PATH=/from/activate:$PATH\necho noise\nread line\n"
    )
    (folder / "bin" / "conda-unpack").write_text(
        "import os, pathlib, sys\n"
        "root = pathlib.Path(sys.argv[0]).parent.parent\n"
        "with open(root / 'unpacked', 'a') as file:\n"
        "    file.write(f'{root}\\n')\n"
    )
    return folder


def packed(folder: Path, target: Path) -> Path:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        archive.add(folder, ".")
    return target


def test_a_folder_is_used_and_activated_as_it_is(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    before = sorted(environment.rglob("*"))
    found = bench.choose({"EXECUTION_ENV_PATH": str(environment)})
    assert found.argv == (str(environment / "bin" / "python"),)
    assert found.environment["PROJ_DATA"] == "/there/a b"
    assert found.environment["PATH"].startswith(f"{environment / 'bin'}:/from/activate:")
    assert found.environment["VIRTUAL_ENV"] == str(environment)
    assert found.environment["LD_LIBRARY_PATH"].split(":")[0] == str(environment / "lib")
    assert found.environment["PYTHONNOUSERSITE"] == "1"
    assert not found.environment.keys() & {"SHLVL", "PWD", "_", "HOME"}
    assert sorted(environment.rglob("*")) == before
    assert bench.kept == []


def test_an_archive_is_unpacked_once_whatever_it_is_called(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    packed(environment, bench.model / "env.tar.gz")
    first = bench.choose({"EXECUTION_ENV_PATH": f"{MODEL}/env.tar.gz"})
    root = Path(first.argv[0]).parent.parent
    assert root.parent.name in bench.kept
    assert (root / "unpacked").read_text() == f"{root}\n"
    assert first.environment["VIRTUAL_ENV"] == str(root)
    assert any("unpacks" in line for line in bench.said)
    bench.said.clear()
    (bench.model / "env.tar.gz").rename(bench.model / "other.tar.gz")
    second = bench.choose({"EXECUTION_ENV_PATH": f"{MODEL}/other.tar.gz"})
    assert second.argv == first.argv
    assert bench.said == []
    assert (root / "unpacked").read_text() == f"{root}\n"


def test_an_archive_that_changes_is_unpacked_again(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    path = packed(environment, bench.model / "env.tar.gz")
    first = bench.choose({"EXECUTION_ENV_PATH": str(path)})
    (environment / "more").touch()
    packed(environment, path)
    assert bench.choose({"EXECUTION_ENV_PATH": str(path)}).argv != first.argv
    assert len(bench.kept) == 2


def test_it_wins_over_all_else(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    bench.require("nothing-of-that-name")
    found = bench.choose({"EXECUTION_ENV_PATH": str(environment), "venv": "absent"})
    assert found.argv == (str(environment / "bin" / "python"),)
    assert bench.choose({"EXECUTION_ENV_PATH": "", "requirements": "none"}).argv == (sys.executable,)


def test_a_relative_path_counts_from_the_working_directory_and_then_from_the_model(  # type: ignore[no-untyped-def]
    bench, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(environment.parent)
    assert bench.choose({"EXECUTION_ENV_PATH": "environment"}).argv == (str(environment / "bin" / "python"),)
    packed(environment, bench.model / "env.tar.gz")
    assert bench.choose({"EXECUTION_ENV_PATH": "env.tar.gz"}).version == sys.version_info[:2]


def test_without_bash_the_environment_still_serves(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    bench.environment["PATH"] = "/nowhere"
    found = bench.choose({"EXECUTION_ENV_PATH": str(environment)})
    assert found.environment["PATH"] == f"{environment / 'bin'}:/nowhere"
    assert "PROJ_DATA" not in found.environment


def test_an_activate_script_that_fails_is_told_of(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    (environment / "bin" / "activate").write_text("exit 5\n")
    bench.choose({"EXECUTION_ENV_PATH": str(environment)})
    assert bench.said == [
        f"model 'reader': {environment}/bin/activate ended with exit status 5; what it sets may be missing"
    ]


def test_other_environments_of_the_operator_do_not_shine_through(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    bench.environment |= {"PYTHONHOME": "/nowhere", "VIRTUAL_ENV": "/elsewhere", "LD_LIBRARY_PATH": "/own/lib"}
    (environment / "bin" / "conda").touch()
    found = bench.choose({"EXECUTION_ENV_PATH": str(environment)})
    assert found.environment["PYTHONHOME"] == ""
    assert found.environment["VIRTUAL_ENV"] == str(environment)
    assert found.environment["LD_LIBRARY_PATH"] == f"{environment / 'lib'}:/own/lib"


# ---- what goes wrong


@pytest.mark.parametrize("text", ["/absent/env.tar.gz", f"{MODEL}/env.tar.gz", "x" * 5000, f"/x/{MODEL}/env"])
def test_what_is_not_there_has_the_real_servers_words(bench, text: str) -> None:  # type: ignore[no-untyped-def]
    written = text.replace(MODEL, str(bench.model)).replace("//", "/")
    expected = f"model 'reader': parameter 'EXECUTION_ENV_PATH': Failed to get the canonical path for {written}."
    with pytest.raises(ConfigError) as caught:
        bench.choose({"EXECUTION_ENV_PATH": text})
    assert str(caught.value).startswith(expected)


def test_a_folder_without_a_python(bench) -> None:  # type: ignore[no-untyped-def]
    (bench.model / "env").mkdir()
    with pytest.raises(ConfigError, match="should contain an 'activate' script") as caught:
        bench.choose({"EXECUTION_ENV_PATH": f"{MODEL}/env"})
    assert f"Path {bench.model}/env/bin/activate does not exist." in str(caught.value)


def test_an_archive_of_the_folder_around_the_environment(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    shutil.make_archive(str(bench.model / "env"), "gztar", environment.parent, "environment")
    with pytest.raises(ConfigError, match="pack the environment's content, not the folder around it"):
        bench.choose({"EXECUTION_ENV_PATH": f"{MODEL}/env.tar.gz"})


def test_a_damaged_archive_leaves_nothing_and_can_be_mended(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    path = packed(environment, bench.model / "env.tar.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"env.tar.gz cannot be unpacked: it is damaged"):
        bench.choose({"EXECUTION_ENV_PATH": str(path)})
    assert bench.kept == []
    path.write_bytes(whole)
    assert bench.choose({"EXECUTION_ENV_PATH": str(path)}).version == sys.version_info[:2]


def test_an_archive_that_is_too_large(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    path = packed(environment, bench.model / "env.tar.gz")
    bench.settings["environment-byte-size"] = "100"
    with pytest.raises(ConfigError, match="takes more than 100 bytes; raise --backend-config=python,environment-byte"):
        bench.choose({"EXECUTION_ENV_PATH": str(path)})


def test_a_device_is_no_archive(bench) -> None:  # type: ignore[no-untyped-def]
    os.mkfifo(bench.model / "pipe")
    with pytest.raises(ConfigError, match="parameter 'EXECUTION_ENV_PATH'"):
        bench.choose({"EXECUTION_ENV_PATH": f"{MODEL}/pipe"})


def test_a_conda_unpack_that_fails(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    (environment / "bin" / "conda-unpack").write_text("raise SystemExit('prefix too long')\n")
    path = packed(environment, bench.model / "env.tar.gz")
    with pytest.raises(ConfigError, match="conda-unpack of the archive ended with exit status 1: prefix too long"):
        bench.choose({"EXECUTION_ENV_PATH": str(path)})
    assert bench.kept == []


def test_an_environment_without_numpy(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    next(environment.glob("lib/python*/site-packages/numpy.py")).unlink()
    with pytest.raises(ConfigError, match="cannot import numpy, which every Python model needs"):
        bench.choose({"EXECUTION_ENV_PATH": str(environment)})


def test_an_archive_without_the_right_to_run_its_python(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    program = environment / "bin" / "python"
    program.unlink()
    program.write_text("#!/bin/sh\n")
    program.chmod(stat.S_IRUSR)
    path = packed(environment, bench.model / "env.tar.gz")
    (environment / "bin" / "conda-unpack").unlink()
    with pytest.raises(ConfigError, match="Permission denied"):
        bench.choose({"EXECUTION_ENV_PATH": str(path)})


def test_an_archive_that_changes_while_it_is_unpacked_is_not_kept(bench, environment: Path) -> None:  # type: ignore[no-untyped-def]
    path = packed(environment, bench.model / "env.tar.gz")

    class Meanwhile(list[str]):
        def append(self, line: str) -> None:
            if "unpacks" in line:
                os.utime(path, (1, 1))

    bench.said = Meanwhile()
    with pytest.raises(ConfigError, match=r"env.tar.gz was changed while it was unpacked; load the model again"):
        bench.choose({"EXECUTION_ENV_PATH": str(path)})
    assert bench.kept == []
