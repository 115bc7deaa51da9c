"""What a model.py says without being run; compared with Python's own view of random classes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends.python.model_file import MAX_BYTES, Method, inspect_model_file, inspect_source

METHODS = ("execute", "initialize", "finalize", "auto_complete_config", "is_ready")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(METHODS), st.booleans(), st.sampled_from(["", "staticmethod", "classmethod"]), st.booleans()
        )
    )
)
def test_methods_are_those_that_python_sees(drawn: list[tuple[str, bool, str, bool]]) -> None:
    lines = ["class TritonPythonModel:", "    pass"]
    for name, is_async, decorator, nested in drawn:
        indent = "    "
        if nested:
            lines.append("    if True:")
            indent = "        "
        if decorator:
            lines.append(f"{indent}@{decorator}")
        lines.append(f"{indent}{'async ' if is_async else ''}def {name}(self, *rest): pass")
    source = "\n".join(lines)
    names: dict[str, Any] = {}
    exec(source, names)
    made = vars(names["TritonPythonModel"])
    seen = inspect_source(source.encode())
    assert seen.has_class
    assert seen.class_line == 1
    assert {one.name for one in seen.methods} == {name for name in METHODS if name in made}
    for one in seen.methods:
        thing = made[one.name]
        function = getattr(thing, "__func__", thing)
        assert one == Method(
            one.name,
            one.line,
            is_async=inspect.iscoroutinefunction(function),
            is_static=isinstance(thing, staticmethod),
            is_class=isinstance(thing, classmethod),
        )
        assert lines[one.line - 1].strip().startswith(("def " + one.name, "async def " + one.name))
    execute = made.get("execute")
    assert seen.execute_is_async == inspect.iscoroutinefunction(getattr(execute, "__func__", execute))
    assert seen.completes_configuration == ("auto_complete_config" in made)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(source: bytes) -> None:
    inspect_source(source)


@pytest.mark.parametrize(
    ("source", "line", "kind", "text"),
    [
        ("class TritonPythonModel:\n  def x(:\n", 2, "SyntaxError", "invalid syntax"),
        ("if True:\nx = 1\n", 2, "IndentationError", "expected an indented block after 'if' statement on line 1"),
        ("if True:\n        x\n\ty\n", 3, "TabError", "inconsistent use of tabs and spaces in indentation"),
        ("x = 1\0", 0, "SyntaxError", "source code string cannot contain null bytes"),
    ],
)
def test_a_mistake_is_told_with_its_place(source: str, line: int, kind: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_bytes(source.encode())
    seen = inspect_model_file(file)
    assert not seen.has_class
    mistake = seen.syntax_error
    assert mistake is not None
    assert (mistake.line, mistake.kind, mistake.text) == (line, kind, text)
    said = f"model.py, line {line}" if line else "model.py"
    assert mistake.describe(file) == f"{kind}: {text} ({said})\n\nAt:\n  {file}({line}): <module>\n"


def test_nesting_too_deep_is_a_mistake() -> None:
    assert inspect_source(b"(" * 5000).syntax_error is not None
    assert inspect_source(b"x = " + b"-" * 100_000 + b"1").syntax_error is not None


@pytest.mark.parametrize(
    ("source", "has_class", "complete"),
    [
        ("class TritonPythonModel: pass", True, True),
        ("class TritonPythonModel:\n    '''Text.'''\n    x: int\n    def execute(self, r): pass", True, True),
        ("from x import Base\nclass TritonPythonModel(Base): pass", True, False),
        ("class TritonPythonModel:\n    execute = print", True, False),
        ("from x import TritonPythonModel", False, False),
        ("try:\n    import x\nexcept ImportError:\n    class TritonPythonModel: pass", True, True),
        ("def f():\n    class TritonPythonModel: pass", False, False),
        ("", False, False),
    ],
)
def test_what_is_not_written_here_is_not_missed(source: str, has_class: bool, complete: bool) -> None:
    seen = inspect_source(source.encode())
    assert (seen.has_class, seen.complete, seen.syntax_error) == (has_class, complete, None)


def test_the_last_class_of_that_name_counts() -> None:
    source = b"class TritonPythonModel:\n    def execute(self, r): pass\nclass TritonPythonModel: pass\n"
    assert inspect_source(source).method("execute") is None


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    with file.open("wb") as opened:
        opened.truncate(MAX_BYTES * 100)
    mistake = inspect_model_file(file).syntax_error
    assert mistake is not None
    assert str(MAX_BYTES) in mistake.text
