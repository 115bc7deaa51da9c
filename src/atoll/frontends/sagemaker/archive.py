"""What SageMaker has unpacked for one model of a multi-model endpoint: which folder in it is the model."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atoll.config.written import read_written
from atoll.errors import AtollError, InvalidArgumentError, NotFoundError
from atoll.repositories.fingerprint import version_number
from atoll.repositories.local import LocalRepository

_UNPACKED = re.compile(r"/opt/ml/models/[0-9A-Za-z._]+/model/?")
"""Where SageMaker unpacks: an archive that holds a model's files at its root has its model folder there."""


@dataclass(frozen=True, slots=True)
class Archive:
    """`repository`: the folder of models to look into; `folder`: the one in it that is the model; `others`: of an
    ensemble, the models that lie beside it.
    """

    repository: str
    folder: str
    others: tuple[str, ...] = ()


def open_archive(url: str, environment: Mapping[str, str]) -> Archive:
    """Look at what lies there: a folder of one model, or of several of which one is an ensemble of the others.

    Raises NotFoundError, InvalidArgumentError for what cannot be told, and what the folder's files raise.
    """
    if not url.startswith("/") or "\0" in url:
        raise NotFoundError(f"failed to register '{url}', repository not found: the url is not an absolute local path")
    path = Path(url)
    if not os.path.isdir(url):
        raise NotFoundError(f"failed to register '{url}', repository not found")
    if _UNPACKED.fullmatch(url) and _is_model(path):
        return Archive(str(path.parent), path.name)
    there = LocalRepository(url).names()
    names = _tops(path, there, environment) if len(there) > 1 else there
    if not names:
        raise NotFoundError(f"failed to poll from model repository: there is no model's folder in '{url}'")
    if len(names) > 1:
        raise InvalidArgumentError(
            f"'{url}' holds several models ({', '.join(names[:10])}) and not one ensemble of the others: which of them "
            "is to be served cannot be told. Put one model into an archive, or several and the ensemble of them"
        )
    return Archive(url, names[0], tuple(name for name in there if name != names[0]))


def _is_model(path: Path) -> bool:
    return (path / "config.pbtxt").is_file() or any(
        version_number(one.name) is not None and one.is_dir() for one in path.iterdir()
    )


def _tops(path: Path, names: list[str], environment: Mapping[str, str]) -> list[str]:
    """The ensembles that are no steps of others; all models where there is none."""
    steps: dict[str, set[str]] = {}
    for name in names:
        try:
            config = read_written(path / name, config_name="", environment=environment).config
        except AtollError:
            continue  # loading it says what is wrong
        if config.ensemble_scheduling is not None:
            steps[name] = {step.model_name for step in config.ensemble_scheduling.step}
    return [name for name in steps if not any(name in of_one for of_one in steps.values())] or names
