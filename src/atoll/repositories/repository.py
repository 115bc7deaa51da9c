"""What a model repository offers, wherever it lies, and a model of it as it lies on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atoll.backends.api import Backend
from atoll.config.model_config import ModelConfig


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as it lies on disk.

    `versions` maps each version to the directory of its files, ascending. `repository` is the repository's location as
    the operator gave it. `model_filename` is set for a bare file, and overrides the backend's default name. A model
    that lies in memory alone brings all that is written of it, as `config`, and the `backend` that runs it.
    `renamed`: it is served under another name than its folder's, and its configuration's name means nothing.
    """

    name: str
    directory: Path
    versions: Mapping[int, Path]
    repository: str = ""
    model_filename: str = ""
    config: ModelConfig | None = None
    backend: Backend | None = None
    renamed: bool = False


class Repository(Protocol):
    """Where models come from. Thread-safe; asked again whenever somebody wants to know what is there now."""

    location: str
    """As the operator gave it."""

    def names(self) -> list[str]:
        """The models that are there now, sorted.

        Raises NotFoundError where the repository itself does not exist, UnavailableError where it cannot be asked: the
        text names the call, the object and the cause.
        """

    def files(self, name: str) -> dict[str, str]:
        """Every file of a model: its path relative to the model's folder, with slashes, to a token that changes when
        the file does. Nothing is downloaded. Raises NotFoundError for a model that is not there.
        """

    def folder(self, name: str) -> ModelFolder:
        """The model on local disk, downloaded first where it lies elsewhere: complete, or an error.

        What a call returned stays readable until it is given back with `release`. Raises NotFoundError, ConfigError,
        UnavailableError.
        """

    def release(self, folder: ModelFolder) -> None:
        """Nobody reads any more what one call of `folder` returned."""

    def close(self) -> None:
        """Nothing is asked any more; what is on disk for it alone may go."""

    def server_config(self) -> Path | None:
        """The server's own configuration file at the repository's root (config.pbtxt), on local disk; None without."""
