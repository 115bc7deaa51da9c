"""What the Python backend itself reads of a model: parameters, and whether its file is Python."""

from pathlib import Path

import pytest

from atoll.backends.api import ModelSource
from atoll.backends.python.backend import CONCURRENCY, PythonBackend
from atoll.config.model_config import ModelConfig, ModelParameter
from atoll.config.problems import problems_of
from atoll.errors import ConfigError, InternalError


def _source(directory: Path, **parameters: str) -> ModelSource:
    (directory / "model.py").write_text("class TritonPythonModel: pass\n")
    said = {key: ModelParameter(string_value=text) for key, text in parameters.items()}
    return ModelSource(
        name="m",
        version=1,
        model_directory=directory.parent,
        version_directory=directory,
        config=ModelConfig(name="m", backend="python", parameters=said),
        settings={},
    )


@pytest.mark.parametrize("text", ["yes", "no"])
def test_where_inputs_shall_be_is_taken(tmp_path: Path, text: str) -> None:
    assert PythonBackend().child(_source(tmp_path, FORCE_CPU_ONLY_INPUT_TENSORS=text)).setup["name"] == "m"


def test_where_inputs_cannot_be_is_refused_as_by_the_real_server(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS: 'maybe'") as raised:
        PythonBackend().child(_source(tmp_path, FORCE_CPU_ONLY_INPUT_TENSORS="maybe"))
    assert raised.value.problems[0].path == "parameters.FORCE_CPU_ONLY_INPUT_TENSORS"


def test_how_many_executions_overlap(tmp_path: Path) -> None:
    assert PythonBackend().child(_source(tmp_path)).setup["concurrency"] == CONCURRENCY
    assert PythonBackend().child(_source(tmp_path, max_concurrent_executions="3")).setup["concurrency"] == 3


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "65537"])
def test_how_many_executions_cannot_overlap(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=f"'max_concurrent_executions' of model 'm' is '{text}' but must be a whole"):
        PythonBackend().child(_source(tmp_path, max_concurrent_executions=text))


def test_a_file_that_is_no_python_is_refused_in_the_real_servers_words_with_its_place(tmp_path: Path) -> None:
    source = _source(tmp_path)
    (tmp_path / "model.py").write_text("class TritonPythonModel:\n    def execute(self, requests)\n")
    file = tmp_path / "model.py"
    with pytest.raises(InternalError) as raised:
        PythonBackend().signature(source)
    assert str(raised.value) == f"SyntaxError: expected ':' (model.py, line 2)\n\nAt:\n  {file}(2): <module>\n"
    (problem,) = problems_of(raised.value)
    assert (problem.file, problem.line, problem.column) == (str(file), 2, 32)
    assert problem.message == "SyntaxError: expected ':'"
