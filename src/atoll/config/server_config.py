"""The server's configuration file, checked: the models that it lists, settings of backends, memory for batches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from atoll.config.config_file import FORMS, file_problem, is_there, read_error, read_file
from atoll.config.fields import fields_of
from atoll.config.model_config import ModelConfig
from atoll.config.places import located
from atoll.config.platforms import is_platform, near_platform
from atoll.config.problems import Problem, config_error
from atoll.config.server_records import ServerConfigFile
from atoll.config.validate import version_policy_problems

MAX_ALIGNMENT = 1 << 21  # bytes: a huge page

_Entry = ServerConfigFile.ModelConfigList.Entry


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that the file lists. `base_path` is its folder: an absolute path, or a location with a scheme such as
    s3://; None where the entry is about the model of that name in a repository. `overrides` is what the entry says of
    its configuration."""

    name: str
    base_path: str | None
    overrides: ModelConfig


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What one file says. `backends` has the settings of each backend by its name; sizes are in bytes, None where the
    file does not say."""

    models: tuple[ListedModel, ...]
    backends: Mapping[str, Mapping[str, str]]
    memory_pool_byte_size: int | None
    memory_pool_alignment: int | None
    file: Path


def read_server_config(path: Path, environment: Mapping[str, str] | None) -> ServerConfig:
    """Reads the file, in the form that its ending says: .pbtxt, .json, .yaml or .yml.

    Raises ConfigError with every problem, each with file, line and column.
    """
    if path.suffix not in FORMS and is_there(path):
        problem = file_problem(
            path, "the form of the file is not known", f"'{path.suffix}'", f"one of {', '.join(FORMS)}"
        )
        raise read_error([problem], path)
    reading = read_file(path, ServerConfigFile, environment)
    if reading.problems:
        raise read_error(_of_a_model(reading.problems, path) or reading.problems, path)
    file: ServerConfigFile = reading.record
    problems = located([*_models(file), *_backends(file), *_memory(file)], reading.places)
    if problems:
        raise config_error(problems, str(path))
    entries = file.model_config_list.config if file.model_config_list else ()
    backends: dict[str, dict[str, str]] = {}
    for one in file.backend_config:
        backends.setdefault(one.backend, {}).update(one.parameters)
    memory = file.model_config or ServerConfigFile.ModelDefaults()
    return ServerConfig(
        models=tuple(_listed(one, path) for one in entries),
        backends=backends,
        memory_pool_byte_size=memory.memory_pool_byte_size,
        memory_pool_alignment=memory.memory_pool_alignment,
        file=path,
    )


def _of_a_model(problems: list[Problem], path: Path) -> list[Problem]:
    """What is said instead where the file is a model's: the wrong folder was given as a repository."""
    names = {one.name for one in fields_of(ModelConfig)}
    wrong = next((one for one in problems if one.path in names), None)
    if wrong is None:
        return []
    message = "this is a model's configuration, not the server's"
    remedy = f"If {path.parent} is a model's folder, name the folder above it as the repository."
    expected = ", ".join(one.name for one in fields_of(ServerConfigFile))
    return [
        Problem("", message, wrong.path, expected, remedy, file=wrong.file, line=wrong.line, column=wrong.column),
        *(one for one in problems if one.path not in names),
    ]


def _listed(entry: _Entry, path: Path) -> ListedModel:
    overrides = ModelConfig(platform=entry.model_platform, version_policy=entry.model_version_policy)
    scheme, separator, rest = entry.base_path.partition("://")
    if separator and scheme != "file":
        location = entry.base_path
    else:
        location = str((path.parent / (unquote(rest) if separator else entry.base_path)).absolute())
    return ListedModel(entry.name, location if entry.base_path else None, overrides)


def _models(file: ServerConfigFile) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for index, entry in enumerate(file.model_config_list.config if file.model_config_list else ()):
        path = f"model_config_list.config[{index}]"
        if not entry.name:
            yield Problem(f"{path}.name", "a listed model has no name", "nothing", "the model's name", "Add it.")
        elif "/" in entry.name or "\0" in entry.name or entry.name in (".", ".."):
            remedy = "Put the folder into base_path."
            yield Problem(f"{path}.name", "a model's name cannot be a path", repr(entry.name), "a name", remedy)
        elif entry.name in seen:
            found = f"the name of {seen[entry.name]} again"
            message = f"model '{entry.name}' is listed twice"
            yield Problem(f"{path}.name", message, found, "one entry for a model", "Remove one.")
        seen.setdefault(entry.name, path)
        if entry.model_platform and not is_platform(entry.model_platform):
            near = near_platform(entry.model_platform)
            message = f"unexpected platform type '{entry.model_platform}' for {entry.name}"
            found, expected = f"'{entry.model_platform}'", "a platform that has a backend"
            yield Problem(f"{path}.model_platform", message, found, expected, f"Did you mean '{near}'?" if near else "")
        yield from version_policy_problems(entry.model_version_policy, entry.name, f"{path}.model_version_policy")


def _backends(file: ServerConfigFile) -> Iterator[Problem]:
    seen: dict[tuple[str, str], int] = {}
    for index, one in enumerate(file.backend_config):
        path = f"backend_config[{index}]"
        if not one.backend:
            message = "settings of no backend"
            yield Problem(f"{path}.backend", message, "nothing", "the backend's name", 'Add backend: "NAME".')
        for key in one.parameters:
            if (one.backend, key) in seen:
                found = f"'{key}', as in backend_config[{seen[one.backend, key]}]"
                message = f"a setting of backend '{one.backend}' is given twice"
                yield Problem(f"{path}.parameters[{key!r}]", message, found, "each setting once", "Remove one.")
            seen.setdefault((one.backend, key), index)


def _memory(file: ServerConfigFile) -> Iterator[Problem]:
    alignment = file.model_config.memory_pool_alignment if file.model_config else None
    if alignment is not None and (alignment & (alignment - 1) or not 1 <= alignment <= MAX_ALIGNMENT):
        expected = f"a power of two from 1 to {MAX_ALIGNMENT}"
        path = "model_config.memory_pool_alignment"
        yield Problem(path, "memory cannot be aligned so", str(alignment), expected, "64 suits all backends.")
