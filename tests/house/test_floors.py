"""A room imports only from lower floors, and nothing from the face; imports inside functions and under TYPE_CHECKING
count.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "atoll"
FLOORS = [  # from the ground up; a room is a folder or a file directly under atoll/
    {"errors"},
    {"tensor", "options", "dlpack", "memory_region", "model_log", "model_spans", "slices", "timers", "trampoline"},
    {"devices", "settled_options"},
    {"config", "request"},
    {"backends", "scheduling", "observability", "calls", "caching"},
    {"execution", "isolation", "repositories", "protocol"},
    {"models"},
    {"server"},
    {"frontends", "testing", "__init__"},
    {"serve", "listener", "analyze", "cluster", "tritonserver"},
    {"cli", "tritonfrontend"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imported(source: str, name: str) -> Iterator[str]:
    """Dotted names under `atoll` that the source imports, at any depth of its syntax tree."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports inside atoll are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (one for one in names if one.split(".")[0] == "atoll")


def room_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def violations(path: Path, source: str) -> list[str]:
    """What a file, given relative to src/atoll, imports from its own floor or a higher one."""
    room = room_of(path)
    wrong = []
    for name in imported(source, str(path)):
        target = ([*name.split("."), "__init__"])[1]
        if target not in FLOOR_OF:
            target = "__init__"  # `from atoll import Server`: the face
        if target == "__init__" or (target != room and FLOOR_OF[target] >= FLOOR_OF[room]):
            wrong.append(f"{path} imports {name}")
    return wrong


def files() -> list[Path]:
    found = sorted(SOURCE.rglob("*.py"))
    assert found, f"no source under {SOURCE}: a test that reads nothing proves nothing"
    return found


def test_every_room_has_a_floor() -> None:
    homeless = {room_of(path.relative_to(SOURCE)) for path in files()} - FLOOR_OF.keys()
    assert not homeless, f"give these rooms a floor, here and in docs/architecture.md: {sorted(homeless)}"


def test_no_room_imports_its_own_floor_or_a_higher_one() -> None:
    wrong = []
    for path in files():
        relative = path.relative_to(SOURCE)
        if relative.name == "__init__.py" and len(relative.parts) == 1:
            continue  # the face re-exports from everywhere below
        wrong += violations(relative, path.read_text())
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tensor.py", "def f():\n    from atoll.config.validate import x"),
        ("scheduling/direct.py", "from atoll.execution.pool import InstancePool"),
        ("config/validate.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import atoll.server"),
        ("scheduling/direct.py", "from atoll.backends.api import Backend"),
        ("cli/main.py", "from atoll import Server"),
        ("cli/main.py", "import atoll"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str) -> None:
    assert violations(Path(path), source)


def test_a_lower_floor_is_no_violation() -> None:
    assert not violations(Path("server.py"), "from atoll.models.model import Model\nimport atoll.errors")
