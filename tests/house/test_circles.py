"""No import circle between the modules of a folder, or anywhere else."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def module_of(path: Path) -> str:
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph() -> dict[str, set[str]]:
    """Which module imports which at run time; an import for type checking alone closes no circle."""
    modules = {module_of(path): path for path in SOURCE.rglob("*.py")}
    assert len(modules) > 20, "the source was not found"
    edges: dict[str, set[str]] = {}
    for module, path in modules.items():
        edges[module] = set()
        for name in imports(ast.parse(path.read_text())):
            target = name
            while target and target not in modules:
                target = target.rpartition(".")[0]
            if target and target != module and target != "atoll":
                edges[module].add(target)
    return edges


def imports(node: ast.AST) -> list[str]:
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.module:
            found += [f"{child.module}.{alias.name}" for alias in child.names]
        elif isinstance(child, ast.Import):
            found += [alias.name for alias in child.names]
        found += imports(child)
    return found


def circle(edges: dict[str, set[str]]) -> list[str] | None:
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for target in sorted(edges.get(module, ())):
            found = visit(target, [*path, module])
            if found:
                return found
        done.add(module)
        return None

    for module in sorted(edges):
        found = visit(module, [])
        if found:
            return found
    return None


def test_no_circle() -> None:
    found = circle(graph())
    assert found is None, " -> ".join(found or [])


def test_a_planted_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
