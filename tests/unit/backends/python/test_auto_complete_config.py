"""Running a model's auto_complete_config; the texts are the real server's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.backends.python.recording import write_model

from atoll.backends.python.auto_complete import auto_complete
from atoll.errors import InternalError

EMPTY: dict[str, Any] = {"name": "m", "max_batch_size": 0, "input": [], "output": []}


def model(tmp_path: Path, body: str, decorator: str = "    @staticmethod\n", first: str = "config") -> Path:
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    code = (
        "import numpy as np\nclass TritonPythonModel:\n" + f"{decorator}    def auto_complete_config({first}):\n{lines}"
    )
    return write_model(tmp_path / "m", code)


@pytest.mark.parametrize(
    ("decorator", "first"),
    [("    @staticmethod\n", "config"), ("    @classmethod\n", "cls, config"), ("", "config")],
)
def test_the_configuration_is_what_the_class_returns(decorator: str, first: str, tmp_path: Path) -> None:
    body = (
        'config.add_input({"name": "I", "data_type": "TYPE_FP32", "dims": [np.int64(2)]})\n'
        "config.set_max_batch_size(np.int32(4))\nconfig.set_dynamic_batching()\nreturn config"
    )
    before = set(sys.modules)
    assert auto_complete(model(tmp_path, body, decorator, first), EMPTY) == {
        "name": "m",
        "max_batch_size": 4,
        "input": [{"name": "I", "data_type": "TYPE_FP32", "dims": [2]}],
        "output": [],
        "dynamic_batching": {},
    }
    assert not [name for name in set(sys.modules) - before if "atoll_model" in name]
    assert EMPTY["input"] == []


def test_a_class_without_it_changes_nothing(tmp_path: Path) -> None:
    assert auto_complete(write_model(tmp_path, "class TritonPythonModel: pass"), EMPTY) == EMPTY


@pytest.mark.parametrize("returned", ["5", "None", "config.as_dict()"])
def test_what_is_no_configuration_is_refused(returned: str, tmp_path: Path) -> None:
    file = model(tmp_path, f"return {returned}")
    with pytest.raises(InternalError) as raised:
        auto_complete(file, EMPTY)
    assert str(raised.value) == (
        "auto_complete_config function in model 'm' must return a valid pb.ModelConfig object.\n\nAt:\n"
        f"  {file}(3): auto_complete_config\n"
    )


@pytest.mark.parametrize(
    ("body", "first", "text"),
    [
        ("raise ValueError('x')", "config", "ValueError: x\n\nAt:\n  F(5): auto_complete_config\n"),
        ("raise SystemExit(3)", "config", "SystemExit: 3\n\nAt:\n  F(5): auto_complete_config\n"),
        (
            "return config",
            "self, config",
            "TypeError: TritonPythonModel.auto_complete_config() missing 1 required positional argument: 'config'"
            "\n\nAt:\n  F(3): auto_complete_config\n",
        ),
        (
            "config.add_input({'name': 'I', 'data_type': 'TYPE_FP32', 'dims': [2], 'z': 1})",
            "config",
            "ValueError: input 'I' in auto-complete-config function for model 'm' contains property other than 'name', "
            "'data_type', 'dims' and 'optional'.\n\nAt:\n  F(5): auto_complete_config\n",
        ),
        (
            "config.set_max_batch_size(10**400)\nreturn config",
            "config",
            None,
        ),
    ],
)
def test_what_it_raises_is_told_with_its_place(body: str, first: str, text: str | None, tmp_path: Path) -> None:
    file = model(tmp_path, body, first=first)
    if text is None:  # a whole number of any size is JSON; whoever reads it refuses it
        assert auto_complete(file, EMPTY)["max_batch_size"] == 10**400
        return
    with pytest.raises(InternalError) as raised:
        auto_complete(file, EMPTY)
    assert str(raised.value).replace(str(file), "F") == text


def test_a_configuration_that_is_no_json_is_refused(tmp_path: Path) -> None:
    file = model(tmp_path, "config.as_dict()['input'] = [object()]\nreturn config")
    with pytest.raises(InternalError, match=r"of type object cannot be part of a configuration"):
        auto_complete(file, EMPTY)


def test_a_module_without_the_class(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="has no attribute 'TritonPythonModel'"):
        auto_complete(write_model(tmp_path, "x = 1"), EMPTY)
