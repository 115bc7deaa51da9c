"""Python models that are never ready: where it is said how long that may take, they fail, and nothing is left."""

from pathlib import Path

import pytest
from tests.unit.server.python_repository import ask, nothing_left, serving, write_python

from atoll.cli.main import main
from atoll.errors import AtollError

pytestmark = pytest.mark.slow  # it waits for models that are not ready in time

ENDLESS = "class TritonPythonModel:\n    def initialize(self, args):\n        while True: pass\n"
ENDLESS_MODULE = "while True: pass\n"
ENDLESS_COMPLETION = """
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        while True: pass
"""
CONFIG = """
backend: "python"
input [{{ name: "IN" data_type: TYPE_FP32 dims: [1] }}]
output [{{ name: "OUT" data_type: TYPE_FP32 dims: [1] }}]
parameters [{parameters}]
"""


def write(repository: Path, name: str, code: str, **parameters: str) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(code)
    said = ", ".join(f'{{ key: "{key}" value {{ string_value: "{text}" }} }}' for key, text in parameters.items())
    (version.parent / "config.pbtxt").write_text(CONFIG.format(parameters=said))


@pytest.mark.parametrize(
    ("code", "parameters", "place"),
    [
        (ENDLESS, {}, "model.py:3 in initialize"),
        (ENDLESS_COMPLETION, {}, "model.py:5 in auto_complete_config"),
        (ENDLESS_MODULE, {"start_method": "fork"}, "the zygote of model 'endless'"),
    ],
)
def test_a_model_that_is_not_ready_in_time_fails_with_its_place(
    code: str, parameters: dict[str, str], place: str, tmp_path: Path
) -> None:
    write_python(tmp_path, "m", "def each(request):\n    return answer(value(request) * 2)")
    with nothing_left(), serving(tmp_path, model_control_mode="explicit", load_model=("m",)) as server:
        write(tmp_path, "endless", code, load_timeout_seconds="3", **parameters)
        with pytest.raises(AtollError, match="was killed by the server because it was not ready within 3 s") as raised:
            server.load_model("endless")
        assert place in str(raised.value)
        assert ask(server, "m", [1]) == 2


def test_validate_comes_to_an_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "endless", ENDLESS)
    assert main(["validate", str(tmp_path), "--backend-config=python,load-timeout-seconds=3"]) == 1
    assert "not ready within 3 s; it was at" in capsys.readouterr().out


def test_commands_that_end_have_a_limit_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("atoll.cli.arguments.LOAD_TIMEOUT_S", 1)
    write(tmp_path, "endless", ENDLESS)
    assert main(["validate", str(tmp_path)]) == 1
    write(tmp_path, "completed", ENDLESS_COMPLETION)
    assert main(["inspect", str(tmp_path / "completed")]) != 0
