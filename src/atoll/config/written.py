"""What a user wrote about one model: its configuration in any form, its versions' own, and where each key stands."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from atoll.config.config_file import FORMS, file_problem, is_there, read_error, read_file
from atoll.config.fields import fields_of
from atoll.config.model_config import ModelConfig
from atoll.config.overlay import overlay
from atoll.config.places import Place, Reading, located, parents
from atoll.config.problems import Problem, errors_of, suggestion
from atoll.config.validate import validate_config
from atoll.errors import ConfigError

__all__ = ["WrittenConfig", "overlay", "read_written"]

WHOLE_MODEL = ("name", "platform", "backend", "runtime", "version_policy", "model_repository_agents")
"""What a version cannot have of its own: the model is found, fetched and handed to a backend by it."""

_MAX_OVERRIDES = 1000  # files in versions/
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_ELEMENT = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class WrittenConfig:
    """`config` as it was written, an empty one where nothing was; `file` is None there. `versions` has the whole
    configuration of each version that has an override, the model's own with the override laid over it. `warnings` are
    about the files themselves."""

    config: ModelConfig
    file: Path | None = None
    versions: Mapping[int, ModelConfig] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    version_places: Mapping[int, Mapping[str, Place]] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    def of_version(self, version: int) -> ModelConfig:
        """What was written about a version."""
        return self.versions.get(version, self.config)

    def locate(self, problems: Iterable[Problem], version: int | None = None) -> list[Problem]:
        """The same problems with the place of their key, or of the nearest message around it that was written; with the
        file alone where nothing of it was. `version` says whose configuration they are about."""
        places = self.places if version is None else self.version_places.get(version, self.places)
        found = located(problems, places)
        if self.file is None:
            return found
        return [one if one.file else replace(one, file=str(self.file)) for one in found]


def read_written(directory: Path, *, config_name: str = "", environment: Mapping[str, str] | None) -> WrittenConfig:
    """Reads what is written in a model's folder.

    That is configs/NAME where `config_name` is given and the model has it, else config; each with the ending .pbtxt,
    .json, .yaml or .yml. versions/N, with the same endings, is laid over it for version N. `environment` replaces
    ${NAME} in strings; None leaves them as they are.

    Raises ConfigError with every problem of all these files, each with file, line and column.
    """
    problems: list[Problem] = []
    file = _main_file(directory, config_name, problems)
    base = Reading(ModelConfig(), {}, []) if file is None else _read(file, environment)
    problems += sorted([*base.problems, *_further(base, directory.name)], key=lambda one: (one.line, one.column))
    overrides = {}
    for version, path in _override_files(directory / "versions", problems).items():
        overrides[version] = read_file(path, ModelConfig, environment)
        problems += overrides[version].problems
        problems += _refused(overrides[version].places, version)
    errors = [one for one in problems if not one.warning]
    if errors:
        raise read_error(errors, file or Path(errors[0].file))
    return WrittenConfig(
        config=base.record,
        file=file,
        versions={version: overlay(base.record, one.record, one.places) for version, one in overrides.items()},
        places=base.places,
        version_places={version: _laid_over(base.places, one.places) for version, one in overrides.items()},
        warnings=tuple(problems),
    )


def _read(file: Path, environment: Mapping[str, str] | None) -> Reading:
    reading = read_file(file, ModelConfig, environment)
    known = {one.name for one in fields_of(ModelConfig)}
    if file.suffix != ".json" or reading.record is None or not reading.places or known.intersection(reading.places):
        return reading
    if any(suggestion(one.path, known) for one in reading.problems):
        return reading
    # it has fields, and none of ours or like ours
    message = "this is the configuration of something else"
    found = ", ".join(list(reading.places)[:5])
    remedy = "If it belongs to the model's own library, put a config.pbtxt beside it, which may be empty."
    return Reading(None, {}, [file_problem(file, message, found, "fields such as backend and input", remedy)])


def _further(reading: Reading, name: str) -> list[Problem]:
    """What is wrong with the rest of a configuration of which a part could not be read: all is said at once.

    Only what is about a key that was read as it stands there, and hangs on none that was not.
    """
    broken = [one.path for one in reading.problems]
    if not broken or reading.record is None:
        return []
    if "max_batch_size" in broken:
        broken += ["dynamic_batching", "sequence_batching"]
    around = {path for one in broken for path in parents(one)}
    found = validate_config(reading.record, name, complete=False)
    return [
        one
        for one in located(errors_of(found), reading.places)
        if one.path in reading.places
        and one.path not in around
        and one.path != "name"
        and not set(parents(one.path)).intersection(broken)
    ]


def _main_file(directory: Path, config_name: str, problems: list[Problem]) -> Path | None:
    if config_name:
        if "/" in config_name or "\0" in config_name or config_name in (".", ".."):
            raise ConfigError(
                f"the configuration name {config_name!r} is not the name of a file in a model's configs folder"
            )
        named = _one_of(directory / "configs", config_name, problems)
        if named is not None:
            return named
    found = _one_of(directory, "config", problems)
    if found is None:
        problems += _misnamed(directory)
    return found


def _misnamed(directory: Path) -> Iterator[Problem]:
    """Files that somebody likely takes for the configuration of the model, which has none."""
    with suppress(OSError):
        for one in islice(directory.iterdir(), _MAX_OVERRIDES):
            near = get_close_matches(one.name.lower(), [f"config{ending}" for ending in FORMS], 1, cutoff=0.85)
            if near and one.is_file():
                message = "this file is not read, and the model has no configuration"
                yield file_problem(
                    one, message, "", "", f"If it is meant to be it, rename it to {near[0]}.", warning=True
                )


def _one_of(folder: Path, stem: str, problems: list[Problem]) -> Path | None:
    """The file of that name in one of the forms.

    A .pbtxt is the one that counts, as other files of a model may be called config.json.
    """
    there = [path for path in (folder / f"{stem}{ending}" for ending in FORMS) if is_there(path)]
    if len(there) < 2:
        return there[0] if there else None
    names = " and ".join(one.name for one in there)
    if there[0].suffix == ".pbtxt":
        message = f"{' and '.join(one.name for one in there[1:])} beside it is not read"
        problems.append(file_problem(there[0], message, "", "", "Remove what is not meant.", warning=True))
    else:
        message = "two files for one configuration"
        problems.append(file_problem(there[0], message, names, "one of them", "Remove or rename the other."))
    return there[0]


def _override_files(folder: Path, problems: list[Problem]) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    try:
        names = sorted(one.name for one in folder.iterdir() if one.suffix in FORMS and not one.name.startswith("."))
    except OSError as error:
        problems.append(file_problem(folder, f"cannot be read: {error.strerror}", "", "a readable folder"))
        return {}
    if len(names) > _MAX_OVERRIDES:
        message = "too many configurations of versions"
        problems.append(file_problem(folder, message, f"{len(names)} files", f"at most {_MAX_OVERRIDES}"))
        return {}
    found: dict[int, Path] = {}
    for name in names:
        path = folder / name
        if not _VERSION.fullmatch(path.stem):
            remedy = f"Name it after the version, such as 1{path.suffix}."
            problems.append(
                file_problem(path, "not the name of a version", f"'{path.stem}'", "a number from 1", remedy)
            )
        elif int(path.stem) in found:
            both = f"{found[int(path.stem)].name} and {name}"
            problems.append(file_problem(path, "two files for one version", both, "one of them", "Remove the other."))
        else:
            found[int(path.stem)] = path
    return dict(sorted(found.items()))


def _refused(places: Mapping[str, Place], version: int) -> list[Problem]:
    return [
        Problem(
            name,
            f"'{name}' cannot be set for version {version} alone",
            "",
            "the model's own configuration",
            "Move it there.",
            file=places[name].file,
            line=places[name].line,
            column=places[name].column,
        )
        for name in WHOLE_MODEL
        if name in places
    ]


def _laid_over(base: Mapping[str, Place], override: Mapping[str, Place]) -> dict[str, Place]:
    """The places of a version's configuration. A list of the override puts out the base's elements."""
    lists = {path[: match.start()] for path in override for match in _ELEMENT.finditer(path)}
    kept = {
        path: place
        for path, place in base.items()
        if not any(path[: match.start()] in lists for match in _ELEMENT.finditer(path))
    }
    return {**kept, **override}
