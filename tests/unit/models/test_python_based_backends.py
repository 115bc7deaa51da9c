"""Backends that are a folder with a model.py: how they are found, and what the Python backend is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.models.coded_backend import CodedBackend, install, tensors, write_folder

import atoll
from atoll.config.json_form import to_json


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CodedBackend:
    """What stands where the Python backend is installed."""
    made = CodedBackend()
    made.complete = tensors()
    install(made, tmp_path / "site", monkeypatch, "python")
    return made


@pytest.fixture
def backends(tmp_path: Path) -> Path:
    """A backend directory with the backend `theirs`."""
    (tmp_path / "backends/theirs").mkdir(parents=True)
    (tmp_path / "backends/theirs/model.py").write_text("# code")
    (tmp_path / "backends/no_code").mkdir()
    return tmp_path / "backends"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def problem_of(repository: Path, **options: Any) -> Any:
    with pytest.raises(atoll.ConfigError) as caught:
        atoll.Server(repository, **options).start()
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize("runtime", ["", 'runtime: "model.py"\n'])
def test_a_folder_with_a_model_py_is_a_backend(
    repository: Path, backends: Path, python: CodedBackend, runtime: str
) -> None:
    folder = write_folder(repository, "m", f'backend: "theirs"\n{runtime}', files=())
    settings = ["python,shm-default-byte-size=5", "theirs,key=value"]
    with atoll.Server(repository, backend_directory=str(backends), backend_config=settings) as server:
        config = to_json(server.model("m").config)
        assert server.infer("m", {"IN": np.ones(4, np.float32)})["OUT"].tolist() == [2] * 4
    assert (config["backend"], config["runtime"], config["default_model_filename"]) == ("theirs", "model.py", "")
    for source in python.sources:
        assert source.backend_directory == backends / "theirs"
        assert source.version_directory == folder / "1"
        assert source.settings == {"shm-default-byte-size": "5", "key": "value"}


def test_an_installed_backend_comes_first(
    repository: Path, backends: Path, python: CodedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = CodedBackend()
    theirs.complete = tensors()
    install(theirs, tmp_path / "site", monkeypatch, "theirs")
    write_folder(repository, "m", 'backend: "theirs"\n')
    with atoll.Server(repository, backend_directory=str(backends)):
        assert theirs.sources
        assert not python.sources


def test_versions_of_their_own_have_the_backend_too(repository: Path, backends: Path, python: CodedBackend) -> None:
    folder = write_folder(repository, "m", 'backend: "theirs"\n', files=())
    (folder / "versions").mkdir()
    (folder / "versions/1.pbtxt").write_text('metric_tags { key: "a" value: "b" }\n')
    with atoll.Server(repository, backend_directory=str(backends)) as server:
        assert server.model("m").config.runtime == "model.py"
        assert server.model("m").config.metric_tags == {"a": "b"}


def test_what_the_code_got_wrong_stands_in_the_backends_file(
    repository: Path, backends: Path, python: CodedBackend
) -> None:
    write_folder(repository, "m", 'backend: "theirs"\n', files=())
    python.complete = tensors(max_batch_size=-1)
    assert problem_of(repository, backend_directory=str(backends)).file == str(backends / "theirs/model.py")


@pytest.mark.parametrize("name", ["nope", "no_code", "..", "../backends/theirs", "."])
def test_a_runtime_that_is_not_there(repository: Path, backends: Path, python: CodedBackend, name: str) -> None:
    write_folder(repository, "m", f'backend: "{name}"\nruntime: "model.py"\n')
    problem = problem_of(repository, backend_directory=str(backends))
    assert (problem.path, problem.line) == ("runtime", 2)
    assert problem.message == (
        "unable to find Python backend based backend library 'model.py' for model 'm', "
        f"searched: '{backends}/{name}/model.py'"
    )


def test_no_backend_directory(repository: Path, python: CodedBackend) -> None:
    write_folder(repository, "m", 'backend: "theirs"\nruntime: "model.py"\n')
    assert "--backend-directory" in problem_of(repository).remedy


def test_the_python_backend_needs_no_runtime(repository: Path, backends: Path, python: CodedBackend) -> None:
    write_folder(repository, "m", 'backend: "python"\nruntime: "model.py"\n', files=("model.py",))
    assert "Remove runtime" in problem_of(repository, backend_directory=str(backends)).remedy


def test_shared_libraries(repository: Path, backends: Path, python: CodedBackend) -> None:
    write_folder(repository, "m", 'backend: "python"\nruntime: "libtriton_other.so"\n', files=("model.py",))
    problem = problem_of(repository)
    assert "unable to find backend library 'libtriton_other.so' for model 'm'" in problem.message
    (repository / "m/config.pbtxt").write_text('backend: "python"\nruntime: "libtriton_python.so"\n')
    with atoll.Server(repository) as server:
        assert server.model_ready("m")


def test_a_shared_library_for_a_python_based_backend(repository: Path, backends: Path, python: CodedBackend) -> None:
    write_folder(repository, "m", 'backend: "theirs"\nruntime: "libtriton_theirs.so"\n')
    problem = problem_of(repository, backend_directory=str(backends))
    assert (problem.path, problem.line) == ("runtime", 2)
    assert "unable to find backend library 'libtriton_theirs.so' for model 'm'" in problem.message


def test_a_misspelt_backend_is_suggested(repository: Path, backends: Path, python: CodedBackend) -> None:
    write_folder(repository, "m", 'backend: "thiers"\n')
    problem = problem_of(repository, backend_directory=str(backends))
    assert (problem.path, problem.remedy) == ("backend", "Did you mean 'theirs'?")


def test_settings_of_a_python_based_backend_are_known(
    repository: Path, backends: Path, python: CodedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(repository, "m", 'backend: "theirs"\n', files=())
    with atoll.Server(repository, backend_directory=str(backends), backend_config=["theirs,a=b"]):
        assert "no installed package offers" not in caplog.text
