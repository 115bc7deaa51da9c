"""Every name that a user can write, as the code has it: read from its tables where it has one, else from its syntax."""

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from atoll.backends.registry import PYTHON_RUNTIME
from atoll.caching import local, redis_cache
from atoll.caching.settings import TTL
from atoll.cli.inspect_command import _document as inspect_document
from atoll.cli.main import COMMANDS, PIPE_CLOSED, main
from atoll.cli.validate_command import _document as validate_document
from atoll.config import padding, step_conditions
from atoll.config.byte_size import _UNITS
from atoll.config.config_file import FORMS
from atoll.config.model_config import ModelConfig
from atoll.config.platforms import _BACKEND_OF_FILE, _BACKENDS, ENSEMBLE, FILENAMES_OF_ANY_KIND
from atoll.config.problems import Problem
from atoll.config.schema import message_class
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.frontends.access.key_file import MEMBERS
from atoll.frontends.access.keys import SCOPES
from atoll.models.completion import _DEFAULT_BATCH
from atoll.models.diagnosis import Diagnosis
from atoll.models.inspection import Inspection
from atoll.options import OPTIONS, OURS
from atoll.protocol import repository as repository_protocol
from atoll.protocol import shared_memory
from atoll.repositories.agents.checksum import _HASHES
from atoll.repositories.credentials import KNOWN_KEYS
from atoll.repositories.object_location import Service
from atoll.tensor import DataType

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "atoll"

Tree = tuple[Path, ast.Module]


def trees(*places: str) -> Iterator[Tree]:
    """The syntax of every file in these places under src/atoll."""
    for place in places:
        path = SOURCE / place
        found = [path] if path.is_file() else sorted(path.rglob("*.py"))
        assert found, f"there is no {path}: a rule that reads nothing finds nothing"
        for file in found:
            yield file.relative_to(SOURCE), ast.parse(file.read_text())


def texts(node: ast.AST | None, tree: ast.Module) -> set[str]:
    """What an expression can be: a text, or a name that stands for one, for one of a loop's or of a table's."""
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) else set()
    if isinstance(node, (ast.Tuple, ast.Set, ast.List)):
        return {text for one in node.elts for text in texts(one, tree)}
    if isinstance(node, ast.Dict):
        return {text for one in node.values for text in texts(one, tree)}
    if isinstance(node, ast.Subscript):
        return texts(node.value, tree)
    if not isinstance(node, ast.Name):
        return set()
    found: set[str] = set()
    for one in ast.walk(tree):
        if isinstance(one, (ast.For, ast.comprehension)) and _is(one.target, node.id):
            found |= texts(one.iter, tree)
        elif isinstance(one, ast.Assign) and any(_is(target, node.id) for target in one.targets):
            found |= texts(one.value, tree) if not _is(one.value, node.id) else set()
        elif isinstance(one, ast.AnnAssign) and _is(one.target, node.id):
            found |= texts(one.value, tree)
    return found


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _called(node: ast.AST) -> str:
    """The last word of what a node stands for: `environ` of os.environ."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def looked_up(tree: ast.Module, mapping: Callable[[str], bool]) -> Iterator[tuple[ast.AST, set[str]]]:
    """Each place where something is looked up in a mapping of that name, with the keys that it can have there."""
    for node in ast.walk(tree):
        key: ast.AST | None = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if node.func.attr in ("get", "setdefault", "pop", "getenv") and mapping(_called(node.func.value)):
                key = node.args[0]
        elif isinstance(node, ast.Subscript) and mapping(_called(node.value)):
            key = node.slice
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            key = node.left if mapping(_called(node.comparators[0])) else None
        if key is not None:
            yield key, texts(key, tree)


# ---- the command line


def options(ours: bool) -> set[str]:
    return {f"--{name}" for one in OPTIONS if (one.source == OURS) is ours for name in (one.name, *one.aliases)}


def command_options() -> set[str]:
    """Those of commands other than serve, and of none."""
    found: set[str] = set()
    for module, _ in COMMANDS.values():
        parser = argparse.ArgumentParser()
        import_module(module).add_arguments(parser)
        found |= {word for action in parser._actions for word in action.option_strings}
    found |= {word for word in texts_of_calls("cli/main.py", "add_argument") if word.startswith("-")}
    return found - options(True) - options(False)


def texts_of_calls(place: str, function: str) -> set[str]:
    return {
        text
        for _, tree in trees(place)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _called(node.func) == function and node.args
        for text in texts(node.args[0], tree)
    }


def exit_statuses() -> set[str]:
    """`atoll COMMAND: STATUS` for each number that a command's `run` returns, or what it calls in its own file."""
    found: set[str] = set()
    for command, (module, _) in COMMANDS.items():
        for _, tree in trees(module.removeprefix("atoll.").replace(".", "/") + ".py"):
            for node in ast.walk(tree):
                if isinstance(node, ast.Return) and node.value is not None:
                    numbers = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
                    found |= {f"atoll {command}: {one}" for one in numbers if type(one) is int and _plain(node.value)}
    return found | {"atoll serve: 0", f"atoll: {PIPE_CLOSED}"}  # the first is what atoll/serve.py returns


def _plain(node: ast.AST) -> bool:
    """A number, or one of two by a condition."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.IfExp) and _plain(node.body) and _plain(node.orelse))


def units() -> set[str]:
    return {unit.replace("IB", "iB") for unit in _UNITS if unit} | {"%"}


# ---- what a model's configuration may say beside Triton's own fields


def backend_keys() -> set[str]:
    """Those that the engine and the backend python read: every other backend's page has its own."""
    found = {_DEFAULT_BATCH}
    for _, tree in trees("models", "backends/python"):
        for node in ast.walk(tree):  # self._settings.get(backend, {}).get("key")
            if isinstance(node, ast.Call) and _called(node.func) == "get" and "settings" in ast.unparse(node.func):
                found |= texts(node.args[0], tree)
    found |= {text for call, tree in _said() for one in call.args for text in texts(one, tree)}
    return found - {""}


def _said() -> Iterator[tuple[ast.Call, ast.Module]]:
    """Each question of isolation/settings.py to a model's parameters over its backend's settings."""
    for _, tree in trees("isolation/settings.py"):
        asked = [
            one
            for one in ast.walk(tree)
            if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and _is(one.func.value, "said")
            if one.func.attr not in _OTHERWISE
        ]
        assert asked, "what is said of processes is read in another way now: correct this rule"
        yield from ((one, tree) for one in asked)


_OTHERWISE = ("parameter", "wrong")  # what asks a parameter alone, and what makes an error


def model_parameters() -> set[str]:
    """Those of a model's own `parameters` that are read by name: no backend's setting is in their place, or another
    name of it.
    """
    found = {
        text
        for call, tree in _said()
        for one in call.keywords
        if one.arg == "parameter"
        for text in texts(one.value, tree)
    }
    unclear = []
    for path, tree in trees("."):
        for node in ast.walk(tree):  # source.config.parameter("key")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "parameter":
                names = texts(node.args[0], tree)
                found |= names
                if not names and not _is(node.func.value, "self"):
                    unclear.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert not unclear, f"which parameter is this? {unclear}"
    for _, tree in trees("backends/python/environments", "isolation", "models"):
        for _, keys in looked_up(tree, lambda name: name == "parameters"):
            found |= keys
    return found


def parameters_of_models() -> set[str]:
    """And those of an ensemble's steps, which are numbered."""
    return model_parameters() | set(step_conditions.KEYS)


def cache_settings() -> set[str]:
    named = (("local", local.SETTINGS), ("redis", redis_cache.SETTINGS))
    return {TTL} | {f"{name}: {setting}" for name, settings in named for setting in settings}


def padding_keys() -> set[str]:
    made = {f"{kind}.{key}" for kind in ("mask", "length") for key in padding.MADE_KEYS}
    return {*padding.KEYS, *(f"inputs.INPUT.{key}" for key in {*padding.INPUT_KEYS, *made})}


def checksum_keys() -> set[str]:
    return {f"{name}:FILE" for name in _HASHES}


def platforms() -> set[str]:
    return {*_BACKENDS, ENSEMBLE}


def model_files() -> set[str]:
    """Files and folders that are looked for in a model's folder, and in a version's."""
    found = {f"config{ending}" for ending in FORMS} | {
        f"1/{name}" for name in (*_BACKEND_OF_FILE, *FILENAMES_OF_ANY_KIND)
    }
    for _, tree in trees("config", "execution"):
        for node in ast.walk(tree):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and "directory" in ast.unparse(node.left):
                found |= {f"{text}/" for text in texts(node.right, tree)}
    return found | _requirements() | {f"DIR/NAME/{PYTHON_RUNTIME}"}


def _requirements() -> set[str]:
    """What is looked for in each of some folders of a model: `for folder in (version, model): folder / FILE`."""
    place = {"version_directory": "1/", "model_directory": ""}
    found = set()
    for _, tree in trees("backends/python/environments/choose.py"):
        for loop in ast.walk(tree):
            if isinstance(loop, ast.For) and isinstance(loop.iter, ast.Tuple) and isinstance(loop.target, ast.Name):
                for node in ast.walk(loop):
                    if isinstance(node, ast.BinOp) and _is(node.left, loop.target.id):
                        folders = [place[_called(one)] for one in loop.iter.elts if _called(one) in place]
                        found |= {folder + text for folder in folders for text in texts(node.right, tree)}
    assert found, "the requirements of a model are looked for in another way now: correct this rule"
    return found


def key_file() -> set[str]:
    return {"keys", *MEMBERS}


def scopes() -> set[str]:
    return set(SCOPES)


def server_file() -> set[str]:
    def walk(descriptor: Any, prefix: str) -> Iterator[str]:
        for field in descriptor.fields:
            yield prefix + field.name
            message = field.message_type
            if message is not None and message.file.package == "atoll" and not message.GetOptions().map_entry:
                yield from walk(message, f"{prefix}{field.name}.")

    return set(walk(message_class("atoll.ServerConfigFile").DESCRIPTOR, ""))


# ---- requests


READ_BY = ("head.py", "carried_headers.py", "credentials.py", "http_gate.py")  # where HTTP's headers are understood


def headers() -> set[str]:
    """In lower case: those that HTTP's head reads, those that answers have, and gRPC's."""
    found: set[str] = set()
    for path, tree in trees("frontends"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and _is(node.left, "name") and path.name in READ_BY:
                found |= {text for one in node.comparators for text in texts(one, tree)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, bytes):
                lines = re.findall(rb"(?:^|[\n%b])([A-Z][A-Za-z]*(?:-[A-Z][A-Za-z]*)*): ", node.value)
                found |= {one.decode().lower() for one in lines}
    for file in sorted(one for form in ("*.py", "*.p[yx][xi]") for one in (SOURCE / "frontends").rglob(form)):
        found |= set(re.findall(r'b?"((?:grpc|x-amzn|x-vertex)-[a-z-]+)"', file.read_text()))
    assert "grpc-timeout" in found, "gRPC's headers are written in another way now: correct this rule"
    return found


def request_parameters() -> set[str]:
    found: set[str] = {repository_protocol.CONFIG, f"{repository_protocol.FILE}PATH"}
    found.add(repository_protocol.UNLOAD_DEPENDENTS)
    found |= {shared_memory.REGION, shared_memory.OFFSET, shared_memory.BYTE_SIZE}
    for path, tree in trees("protocol"):
        if path.name == "documents.py":  # whose keys are of documents that answers hold
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and _is(node.left, "key"):
                found |= {text for one in node.comparators for text in texts(one, tree)}
        for _, keys in looked_up(tree, lambda name: name == "parameters"):
            found |= keys
        found |= {
            text
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and "_SOURCES" in ast.unparse(node.targets[0])
            for text in re.findall(r"'(\w+)', 'parameters'", ast.unparse(node.value))
        }
    return found


# ---- the process


def _any_of(*words: str) -> Callable[[str], bool]:
    return lambda name: any(word in name for word in words)


def environment_variables() -> set[str]:
    """Those that are read, and those that a model's process gets."""
    found: set[str] = set()
    unclear = []
    for path, tree in trees("."):
        if path.as_posix() == "config/environment.py":  # ${NAME}: any
            continue
        child = ("variables",) if path.as_posix() == "isolation/environment.py" else ()
        for key, names in looked_up(tree, _any_of("environ", *child)):
            found |= names
            if not names:
                unclear.append(f"{path}:{getattr(key, 'lineno', 0)}: {ast.unparse(key)}")
    assert not unclear, f"which environment variable is this? {unclear}"
    return found


def metrics() -> set[str]:
    return {
        node.value
        for _, tree in trees("observability")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"atoll_[a-z_]+", node.value)
    }


def _project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def entry_points() -> set[str]:
    groups = _project()["entry-points"]
    read = {
        text
        for _, tree in trees(".")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _called(node.func) == "entry_points"
        for word in node.keywords
        if word.arg == "group"
        for text in texts(word.value, tree)
    }
    return read | {f"{group}: {name}" for group, names in groups.items() for name in names}


def extras() -> set[str]:
    return set(_project()["optional-dependencies"])


def locations() -> set[str]:
    return {f"{one.value}://" for one in Service}


def credential_keys() -> set[str]:
    return {f"{service.value}.PREFIX" for service in Service} | {
        f"{service.value}.PREFIX.{key}" for service, keys in KNOWN_KEYS.items() for key in keys
    }


# ---- documents


def _paths(document: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield prefix + key
            if prefix + key != "config":  # a model's configuration, which is Triton's
                yield from _paths(value, f"{prefix}{key}.")
    elif isinstance(document, list):
        for one in document:
            yield from _paths(one, prefix)


_PROBLEM = Problem("key", "message", "found", "expected", "remedy", False, "file", 1, 1)


def validate_keys() -> set[str]:
    """Those of both documents: of models, and of nothing to validate."""
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(StringIO()):
        main(["validate", "--json"])
    healthy = validate_document([Diagnosis("m", "r", (1,), (_PROBLEM,))])
    return {*_paths(healthy), *_paths(json.loads(printed.getvalue()))}


def inspect_keys() -> set[str]:
    tensor = TensorSignature(name="t", data_type=DataType.FP32, shape=(1,))
    signature = ModelSignature(inputs=(tensor,), outputs=(tensor,))
    return set(_paths(inspect_document(Inspection("m", 1, ModelConfig(), signature, (_PROBLEM,)))))
