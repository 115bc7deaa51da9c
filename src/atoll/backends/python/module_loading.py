"""Importing a model's module, so that its own imports find what they find under the real server.

That imports model.py as `1.model` (the version directory is the package `1`, so `from . import sibling` works), with
the version's and the model's directory at the end of sys.path, so that `import sibling` does too. A model that has a
process for itself gets just that. Where several share a process, each gets a package under a name of its own, and a
way to import that looks into its own directories: two models' `preprocessing.py` stay apart, and leave with their
models.

Imported by child processes: the standard library only, on Python 3.10 and later.
"""

from __future__ import annotations

import builtins
import re
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import count
from typing import TYPE_CHECKING, Any

from atoll.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

_numbers = count(1)
_scopes: dict[str, _Scope] = {}  # of the modules that share this process, by their package


def load_module(file: Path, *, version: int, own_process: bool) -> ModuleType:
    """Import a model's file; its directory is the package where its name is the version's number, as a model's is. A
    backend's model.py, for all its models, is imported by itself.

    Raises InternalError where the file cannot be one, and whatever the module's code raises.
    """
    if file.suffix != ".py":
        raise InternalError(f"Model name must end with '.py'. Model name is \"{file.name}\".")
    if not file.is_file():
        raise InternalError(f"Python model file not found in '{file}'")
    file = file.absolute()
    packaged = file.parent.name == str(version)
    if own_process:
        _append_to_path([file.parent, file.parent.parent] if packaged else [file.parent])
        sys.path_hooks.insert(0, _without_bytecode(str(file.parent.parent if packaged else file.parent)))
        if not packaged:
            return _execute(file.stem, file, None)
        if file.parent.name not in sys.modules:
            _execute_package(file.parent.name, file.parent, [str(file.parent)])
        return _execute(f"{file.parent.name}.{file.stem}", file, None)
    directories = [str(file.parent), str(file.parent.parent)] if packaged else [str(file.parent)]
    package = f"atoll_model_{next(_numbers)}_{re.sub(r'[^0-9A-Za-z]', '_', str(file.parent.parent.name))}"
    scope = _scopes[package] = _Scope(package, directories)
    sys.meta_path.insert(0, scope)
    try:
        _execute_package(package, file.parent, directories, scope)
        return _execute(f"{package}.{file.stem}", file, scope)
    except BaseException:
        _forget(package)
        raise


def unload_module(module: ModuleType) -> None:
    """Forget a module, and what it has imported from its own directories, where it shares the process with others."""
    _forget(module.__name__.partition(".")[0])


def _forget(package: str) -> None:
    scope = _scopes.pop(package, None)
    if scope is None:
        return
    sys.meta_path.remove(scope)
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]


def _append_to_path(directories: Sequence[Path]) -> None:
    for directory in map(str, directories):
        if directory not in sys.path:
            sys.path.append(directory)


def _execute(name: str, file: Path, scope: _Scope | None) -> ModuleType:
    loader = _Loader(name, str(file)) if scope is None else _ScopedLoader(name, str(file), scope)
    return _run(spec_from_file_location(name, file, loader=loader))


def _execute_package(name: str, directory: Path, search: list[str], scope: _Scope | None = None) -> None:
    initial = directory / "__init__.py"
    if initial.is_file():
        loader = _Loader(name, str(initial)) if scope is None else _ScopedLoader(name, str(initial), scope)
        spec = spec_from_file_location(name, initial, loader=loader, submodule_search_locations=search)
    else:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = search
    _run(spec)


def _run(spec: ModuleSpec | None) -> ModuleType:
    assert spec is not None, "a file that exists has a spec. This is a bug"
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    return sys.modules[spec.name]  # a module may put something else in its own place


class _Scope:
    """What the modules of one model, among several in the process, import."""

    def __init__(self, package: str, directories: list[str]):
        self.package = package
        self._directories = directories
        self._own: dict[str, bool] = {}
        self.builtins = {**vars(builtins), "__import__": self._import}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The modules inside the package, as a finder of sys.meta_path."""
        if not name.startswith(f"{self.package}."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _ScopedLoader(spec.loader.name, spec.loader.path, self)
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # the names of the function in whose place it stands
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """In the place of `__import__` for the model's own code."""
        if level == 0:
            top = name.partition(".")[0]
            own = self._own.get(top)
            if own is None:
                own = self._own[top] = self._is_own(top)
            if own:
                module = builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist or (), 0)
                return module if fromlist else sys.modules[f"{self.package}.{top}"]
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    def _is_own(self, name: str) -> bool:
        """Whether it is in the model's directories, and nowhere before: they come last on the path."""
        if PathFinder.find_spec(name, self._directories) is None:
            return False
        try:
            elsewhere = find_spec(name)
        except (ImportError, ValueError):  # ValueError: a module without a spec, such as __main__
            return name not in sys.modules
        return elsewhere is None or elsewhere.origin is None  # without: any folder of that name


class _Loader(SourceFileLoader):
    """Leaves no __pycache__ in the model's directory: a repository that is watched would find the model changed."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """What would write it."""


def _without_bytecode(root: str) -> Callable[[str], FileFinder]:
    """A hook of sys.path_hooks that does so for whatever is imported from the directory, or from one inside it."""

    def find_in(directory: str) -> FileFinder:
        if directory != root and not directory.startswith(f"{root}/"):
            raise ImportError(directory)
        return FileFinder(
            directory,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (_Loader, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    for directory in [one for one in sys.path_importer_cache if one == root or one.startswith(f"{root}/")]:
        del sys.path_importer_cache[directory]
    return find_in


class _ScopedLoader(_Loader):
    """Gives a module its model's way to import, too."""

    def __init__(self, name: str, path: str, scope: _Scope):
        super().__init__(name, path)
        self._scope = scope

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._scope.builtins
        super().exec_module(module)
