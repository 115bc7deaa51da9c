"""The models and tests that docs/python-models.md shows: its files written as it names them, and its tests run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atoll.testing import PythonModel

PAGE = Path(__file__).parents[3] / "docs" / "python-models.md"
FILE = re.compile(r"^```(?:text|python)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = dict(FILE.findall(PAGE.read_text()))
TESTS = sorted(name for name in FILES if name.startswith("test_"))
MODELS = sorted({Path(name).parts[1] for name in FILES if name.startswith("models/")})


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files, and the tests run there."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_models_and_tests() -> None:
    assert len(MODELS) >= 5
    assert len(TESTS) >= 4


@pytest.mark.parametrize("name", TESTS)
def test_a_test_of_the_page_passes(name: str, page: Path) -> None:
    names: dict[str, object] = {}
    exec(compile(FILES[name], name, "exec"), names)
    functions = [one for key, one in names.items() if key.startswith("test_")]
    assert functions
    for function in functions:
        function()  # type: ignore[operator]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_page_loads(name: str, page: Path) -> None:
    with PythonModel(page / "models" / name) as model:
        assert model.is_ready()
        assert hasattr(model.instance, "execute")
