"""What a model.py says without being run: its class, its methods, whether they are coroutines. Pure.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import ast
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CLASS_NAME = "TritonPythonModel"
MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why the file cannot be read as Python: `line` and `column` count from 1, 0 where Python does not say; `kind` is
    the exception's name.
    """

    line: int
    column: int
    text: str
    kind: str = "SyntaxError"

    def describe(self, file: Path) -> str:
        """The text that a model with this mistake fails to load with: the real server's, and the place."""
        line = f", line {self.line}" if self.line else ""
        return f"{self.kind}: {self.text} ({file.name}{line})\n\nAt:\n  {file.absolute()}({self.line}): <module>\n"


@dataclass(frozen=True, slots=True)
class Method:
    """A method that stands in the class itself. `is_async`: declared with `async def`."""

    name: str
    line: int
    is_async: bool = False
    is_static: bool = False
    is_class: bool = False


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What stands in the file. A class that is inherited, imported or assigned is not seen, and so not missed:
    `complete` says that all of the class is here.
    """

    has_class: bool = False
    class_line: int = 0
    complete: bool = False
    methods: tuple[Method, ...] = ()
    syntax_error: Mistake | None = None

    def method(self, name: str) -> Method | None:
        """The method of that name, if it stands there."""
        return next((one for one in self.methods if one.name == name), None)

    @property
    def execute_is_async(self) -> bool:
        """Whether `execute` is declared with `async def`."""
        execute = self.method("execute")
        return execute is not None and execute.is_async

    @property
    def completes_configuration(self) -> bool:
        """Whether it has `auto_complete_config`, as far as can be seen."""
        return self.method("auto_complete_config") is not None


def inspect_model_file(path: Path) -> ModelFile:
    """Look at a file without running it. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        source = file.read(MAX_BYTES + 1)
    if len(source) > MAX_BYTES:
        return ModelFile(syntax_error=Mistake(0, 0, f"the file has more than {MAX_BYTES} bytes"))
    return inspect_source(source)


def inspect_source(source: bytes) -> ModelFile:
    """The same for the text of a file."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:  # with its relatives for indentation and tabs
        return ModelFile(syntax_error=Mistake(error.lineno or 0, error.offset or 0, error.msg, type(error).__name__))
    except (ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:  # NUL bytes, nesting too deep
        return ModelFile(syntax_error=Mistake(0, 0, str(error) or type(error).__name__))
    found = [node for node in _statements(tree.body) if isinstance(node, ast.ClassDef) and node.name == CLASS_NAME]
    if not found:
        return ModelFile()
    node = found[-1]  # the last one is what the name means in the end
    methods: dict[str, Method] = {}
    whole = not node.bases and not node.keywords and not node.decorator_list
    for statement in _statements(node.body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = {one.id for one in statement.decorator_list if isinstance(one, ast.Name)}
            methods[statement.name] = Method(
                statement.name,
                statement.lineno,
                is_async=isinstance(statement, ast.AsyncFunctionDef),
                is_static="staticmethod" in decorators,
                is_class="classmethod" in decorators,
            )
        elif not isinstance(statement, (ast.Expr, ast.Pass, ast.AnnAssign)):
            whole = False  # `execute = something` and the like
    return ModelFile(True, node.lineno, whole, tuple(methods.values()))


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a block, and those inside its conditions: `try: ... except ImportError: class ...`."""
    found: list[ast.stmt] = []
    for statement in body:
        found.append(statement)
        if isinstance(statement, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            for name in ("body", "orelse", "finalbody"):
                found.extend(_statements(getattr(statement, name, [])))
            for handler in getattr(statement, "handlers", []):
                found.extend(_statements(handler.body))
    return found
