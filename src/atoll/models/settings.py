"""What holds for all models of a server: its options over the configuration files, and the models that these list."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll.backends.registry import backend_names, python_based_names
from atoll.config.model_config import ModelConfig
from atoll.config.problems import suggestion
from atoll.config.server_config import ServerConfig, read_server_config
from atoll.errors import ConfigError
from atoll.execution.memory_pool import DEFAULT_ALIGNMENT, DEFAULT_BYTE_SIZE
from atoll.models.budget import parse_budget
from atoll.models.completion import ALL_BACKENDS, Settings, backend_settings
from atoll.models.memory import machine_bytes
from atoll.options import ServerOptions
from atoll.repositories.object_store import is_object_store
from atoll.repositories.open import ListedModel, Opener
from atoll.repositories.repository import Repository

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """`backends`: settings by backend. `defaults`: what fills gaps of a model's own configuration, by its name.

    `listed`: the models that a configuration file lists with their places. `pool_bytes` and `pool_alignment` are of the
    host memory for batches; `memory_budget` is in bytes, 0 for none.
    """

    backends: Settings
    defaults: Mapping[str, ModelConfig]
    listed: Sequence[Repository]
    pool_bytes: int
    pool_alignment: int
    memory_budget: int


def read_settings(
    options: ServerOptions, repositories: Sequence[Repository], environment: Mapping[str, str], open_one: Opener
) -> FleetSettings:
    """The command line's word first, then `--config`, then the files at the repositories' roots in their order.

    Raises ConfigError, InvalidArgumentError.
    """
    files = [Path(options.config)] if options.config else []
    files += [file for file in (repository.server_config() for repository in repositories) if file is not None]
    configs = [read_server_config(file, environment) for file in files]
    from_files: dict[str, dict[str, str]] = {}
    for config in reversed(configs):
        for backend, parameters in config.backends.items():
            from_files[backend] = {**from_files.get(backend, {}), **parameters}
    listed, defaults = _models(configs, repositories, open_one)
    backends = backend_settings(options.backend_config, from_files)
    _warn_of_unknown(backends, options.backend_directory)
    sizes = [options.pinned_memory_pool_byte_size, *(one.memory_pool_byte_size for one in configs), DEFAULT_BYTE_SIZE]
    alignments = [options.memory_pool_alignment, *(one.memory_pool_alignment for one in configs), DEFAULT_ALIGNMENT]
    return FleetSettings(
        backends=backends,
        defaults=defaults,
        listed=listed,
        pool_bytes=next(one for one in sizes if one is not None),
        pool_alignment=next(one for one in alignments if one is not None),
        memory_budget=parse_budget(options.model_memory_budget, machine_bytes()) if options.model_memory_budget else 0,
    )


def _warn_of_unknown(backends: Settings, directory: str) -> None:
    """What would go unnoticed: a folder that is not there, and settings for a backend that nobody offers."""
    if directory and not Path(directory).is_dir():
        logger.warning("--backend-directory=%s: there is no such folder, and no backend comes from it", directory)
    installed = [*backend_names(), *python_based_names(directory)]
    for backend in sorted(backends.keys() - {*installed, ALL_BACKENDS}):
        near = suggestion(backend, installed)
        hint = f"; did you mean '{near}'?" if near else f"; installed are: {', '.join(installed)}"
        logger.warning("settings are given for a backend '%s', which no installed package offers%s", backend, hint)


def _models(
    configs: Sequence[ServerConfig], repositories: Sequence[Repository], open_one: Opener
) -> tuple[list[Repository], dict[str, ModelConfig]]:
    listed: list[Repository] = []
    defaults: dict[str, ModelConfig] = {}
    named: dict[str, Path] = {}
    for config in configs:
        for model in config.models:
            if model.name in named:
                raise ConfigError(
                    f"model '{model.name}' is listed in {named[model.name]} and in {config.file}: list it once"
                )
            named[model.name] = config.file
            defaults[model.name] = model.overrides
            if model.base_path is not None and not _is_there(model.name, model.base_path, repositories):
                listed.append(ListedModel(model.name, str(model.base_path), open_one))
    return listed, defaults


def _is_there(name: str, base_path: str, repositories: Sequence[Repository]) -> bool:
    """Whether the place is that of a repository's own model of that name, which is then not listed a second time."""
    places = {f"{one.location.rstrip('/')}/{name}" for one in repositories}
    if is_object_store(base_path):
        return base_path.rstrip("/") in places
    return os.path.realpath(base_path) in {os.path.realpath(place) for place in places if not is_object_store(place)}
