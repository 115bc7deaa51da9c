"""What holds for all models of a server: its options over the configuration files, and the models that these list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll.config.model_config import ModelConfig
from atoll.config.server_config import ServerConfig, read_server_config
from atoll.errors import ConfigError, InvalidArgumentError
from atoll.models.budget import parse_budget
from atoll.models.completion import Settings, backend_settings
from atoll.models.memory import machine_bytes
from atoll.options import ServerOptions
from atoll.repositories.open import ListedModel, Opener
from atoll.repositories.repository import Repository

POOL_BYTES = 256 << 20
POOL_ALIGNMENT = 64


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
    listed, defaults = _models(configs, open_one)
    sizes = [options.pinned_memory_pool_byte_size, *(one.memory_pool_byte_size for one in configs), POOL_BYTES]
    alignments = [options.memory_pool_alignment, *(one.memory_pool_alignment for one in configs), POOL_ALIGNMENT]
    alignment = next(one for one in alignments if one is not None)
    if alignment & (alignment - 1) or not 1 <= alignment <= 1 << 21:
        raise InvalidArgumentError(f"memory_pool_alignment is {alignment}: expected a power of two from 1 to 2097152")
    return FleetSettings(
        backends=backend_settings(options.backend_config, from_files),
        defaults=defaults,
        listed=listed,
        pool_bytes=next(one for one in sizes if one is not None),
        pool_alignment=alignment,
        memory_budget=parse_budget(options.model_memory_budget, machine_bytes()) if options.model_memory_budget else 0,
    )


def _models(configs: Sequence[ServerConfig], open_one: Opener) -> tuple[list[Repository], dict[str, ModelConfig]]:
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
            if model.base_path is not None:
                listed.append(ListedModel(model.name, str(model.base_path), open_one))
    return listed, defaults
