"""The nevers of docs/architecture.md: what must not be imported where."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "atoll"

PURE = [
    "scheduling",
    "backends/onnxruntime/accelerators.py",
    "backends/onnxruntime/accelerator_options.py",
    "backends/tensorrt/graph_plan.py",
    "backends/tensorrt/profiles.py",
    "backends/tensorrt/signature.py",
    "execution/batching/batch.py",
    "execution/batching/plan.py",
    "execution/batching/joining.py",
    "execution/sequences/controls.py",
    "execution/sequences/states.py",
    "execution/sequences/tensors.py",
    "execution/batching/splitting.py",
    "execution/batching/ragged.py",
    "execution/batching/padding.py",
    "execution/batching/shape_tensors.py",
    "backends/jax/names.py",
    "backends/pytorch/aot_facts.py",
    "backends/pytorch/call_spec.py",
    "backends/pytorch/exported_facts.py",
    "backends/pytorch/names.py",
    "backends/pytorch/types.py",
    "backends/tabular/lightgbm_file.py",
    "backends/tabular/tree_checks.py",
    "backends/tabular/ubjson.py",
    "backends/tabular/xgboost_file.py",
    "caching/codec.py",
    "caching/key.py",
    "frontends/access/credentials.py",
    "frontends/access/key_file.py",
    "frontends/access/key_form.py",
    "frontends/access/rate.py",
    "frontends/access/restrictions.py",
    "frontends/dashboard/concerns.py",
    "frontends/dashboard/document.py",
    "frontends/dashboard/readings.py",
    "frontends/dashboard/rows.py",
    "frontends/dashboard/window.py",
    "isolation/told_spans.py",
    "memory_region.py",
    "models/budget.py",
    "models/instance_placements.py",
    "observability/metrics/labels.py",
    "observability/metrics/machine_families.py",
    "observability/metrics/model_families.py",
    "observability/metrics/model_histograms.py",
    "observability/metrics/model_summaries.py",
    "observability/metrics/model_texts.py",
    "observability/metrics/server_families.py",
    "observability/metrics/settings.py",
    "observability/metrics/text_format.py",
    "observability/statistics/distribution.py",
    "observability/statistics/failure_reasons.py",
    "observability/statistics/measures.py",
    "observability/statistics/summaries.py",
    "observability/statistics/window.py",
    "observability/timeline",
    "observability/tracing/context.py",
    "observability/tracing/entries.py",
    "observability/tracing/export_settings.py",
    "observability/tracing/settings.py",
    "observability/tracing/spans.py",
    "repositories/watcher.py",
    "execution/driving.py",
    "models/request_validation.py",
    "protocol",
]
IMPURE_MODULES = {"asyncio", "threading", "socket", "time"}
ENGINE = [
    "server.py",
    "models",
    "execution",
    "scheduling",
    "backends",
    "caching",
    "observability",
    "repositories",
    "config",
    "request.py",
]
BACKEND_MODULES = {
    "onnxruntime",
    "torch",
    "tensorflow",
    "openvino",
    "tensorrt",
    "jax",
    "sklearn",
    "skops",
    "joblib",
    "xgboost",
    "lightgbm",
}


def files(places: list[str]) -> list[Path]:
    found = []
    for place in places:
        path = SOURCE / place
        assert path.exists(), f"{place} is gone: correct this list"
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


def imports(path: Path) -> list[tuple[str, str]]:
    """The modules that a file imports, each with the function it happens in ("" for the module itself)."""
    found: list[tuple[str, str]] = []

    def walk(node: ast.AST, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.ImportFrom) and child.module:
                found.append((child.module, function))
            elif isinstance(child, ast.Import):
                found.extend((alias.name, function) for alias in child.names)
            name = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
            walk(child, name)

    walk(ast.parse(path.read_text()), "")
    return found


@pytest.mark.parametrize("path", files(PURE), ids=lambda path: str(path.relative_to(SOURCE)))
def test_pure_rooms_know_no_thread_loop_socket_or_clock(path: Path) -> None:
    assert not [name for name, _ in imports(path) if name.split(".")[0] in IMPURE_MODULES]


def test_the_engine_needs_no_event_loop() -> None:
    found = {
        (path.relative_to(SOURCE).as_posix(), function)
        for path in files(ENGINE)
        for name, function in imports(path)
        if name.split(".")[0] in {"asyncio", "uvloop"}
    }
    # A Python model may be made of coroutines: then, and no sooner, what runs them imports asyncio.
    models = {(path, function) for path, function in found if path.startswith("backends/python/") and function}
    assert found - models == {("server.py", "async_infer")}


def test_protobuf_below_the_protocol_is_the_text_formats_affair() -> None:
    users = {
        str(path.relative_to(SOURCE))
        for path in files(ENGINE)
        for name, _ in imports(path)
        if name.startswith("google.protobuf")
    }
    assert all(user == "config/textproto.py" or user.startswith("config/schema/") for user in users), users


def test_no_code_names_a_backends_file() -> None:
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        if path.relative_to(SOURCE).parts[0] == "backends":
            continue
        for name, _ in imports(path):
            if name.split(".")[0] in BACKEND_MODULES:
                wrong.append(f"{path.name} imports {name}")
            rooms = {"api", "loading", "model_kind", "registry"}
            if path.relative_to(SOURCE).parts[0] == "testing":
                rooms.add("python")  # atoll.testing.PythonModel runs a model.py as that backend does
            if name.startswith("atoll.backends.") and name.split(".")[2] not in rooms:
                wrong.append(f"{path.name} imports {name}")
    assert not wrong


def test_heavy_libraries_are_imported_inside_functions() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in sorted(SOURCE.rglob("*.py"))
        for name, function in imports(path)
        if name.split(".")[0] in BACKEND_MODULES and not function
    ]
    assert not wrong
