"""From what a user wrote about a model, and what its files say, to a complete configuration with nothing wrong."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from atoll.backends.api import Backend, CompletesConfig, Engine, ModelSource
from atoll.backends.model_kind import backend_of_file
from atoll.backends.registry import PYTHON_RUNTIME, python_based_folder
from atoll.config.agreement import check
from atoll.config.auto_complete import blamed, completed
from atoll.config.autofill import fill, normalize
from atoll.config.model_config import ModelConfig
from atoll.config.platforms import (
    FILENAMES_OF_ANY_KIND,
    backend_of,
    default_model_filename,
    guess_backend,
    is_ensemble,
    model_filename,
)
from atoll.config.problems import Problem, config_error, errors_of, problems_of
from atoll.config.validate import validate_config, version_policy_problems
from atoll.config.versions import choose_versions
from atoll.config.written import WrittenConfig, overlay, read_written
from atoll.errors import AtollError, ConfigError, InvalidArgumentError, NotFoundError
from atoll.execution.sequences.initial_state import initial_state_problems
from atoll.models.backend_answers import BackendAnswers, RunChild
from atoll.models.backend_choice import PYTHON, choose_backend, no_backend
from atoll.models.ensembles.completion import complete_ensemble
from atoll.models.ensembles.steps import FindStep, StepModel, StepVersion
from atoll.models.unserved import find_unserved
from atoll.options import ServerOptions
from atoll.repositories.agents.chain import AgentChain
from atoll.repositories.repository import ModelFolder
from atoll.scheduling.queueing.batch_strategy import strategy_problems

logger = logging.getLogger(__name__)

_SHOWN = 8  # entries of a folder that an error names
ALL_BACKENDS = ""  # the settings for all backends
_DEFAULT_BATCH = "default-max-batch-size"
Settings = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class CompleteModel:
    """A model about which everything is known: the versions to serve, ascending, each with its configuration.

    An ensemble has no `backend`, but `steps`: by version, the models of its steps as they were found.
    """

    folder: ModelFolder
    backend: Backend | None
    configs: Mapping[int, ModelConfig]
    written: WrittenConfig
    warnings: tuple[Problem, ...] = ()
    steps: Mapping[int, tuple[StepVersion, ...]] = field(default_factory=dict)


class Completion:
    """Completes configurations under one server's options. `settings` are those of the backends, by name, `gpus` the
    numbers of those that models may use. Thread-safe: it keeps nothing.
    """

    def __init__(
        self,
        options: ServerOptions,
        settings: Settings,
        *,
        environment: Mapping[str, str],
        gpus: tuple[int, ...] = (),
        defaults: Mapping[str, ModelConfig] | None = None,
        engine: Engine | None = None,
        run_child: RunChild | None = None,
    ):
        self._options = options
        self._settings = settings
        self._environment = environment
        self.answers = BackendAnswers(gpus, run_child)
        self._engine = engine
        self._run_child = run_child
        self._defaults: Mapping[str, ModelConfig] = defaults or {}

    def written(self, folder: ModelFolder, override: ModelConfig | None = None) -> WrittenConfig:
        """What the user wrote, or the `override` of a load request in its place. Raises ConfigError."""
        in_memory = override if override is not None else folder.config
        if in_memory is not None:
            written = WrittenConfig(config=in_memory, file=None, versions={})
        else:
            written = read_written(
                folder.directory, config_name=self._options.model_config_name, environment=self._environment
            )
        defaults = self._defaults.get(folder.name)
        if defaults is not None and override is None:
            written = replace(
                written,
                config=overlay(defaults, written.config),
                versions={version: overlay(defaults, one) for version, one in written.versions.items()},
            )
        return written

    def complete(
        self,
        folder: ModelFolder,
        written: WrittenConfig,
        *,
        read_files: bool = True,
        find_step: FindStep = lambda name: StepModel(None),
    ) -> CompleteModel:
        """The model's complete configurations. With `read_files` off the model files are not looked into: what only
        they can tell is then neither filled in nor checked. `find_step` finds the models of an ensemble's steps.

        Raises ConfigError with everything that is wrong, or the backend's own error.
        """
        where = str(written.file or folder.directory)
        _demand_versions(folder, where)
        config = _identified(written.config, folder)
        if is_ensemble(config):
            return self._ensemble(folder, written, config, find_step, where)
        if not config.backend:
            problems = validate_config(config, folder.name, files=_files(folder), complete=False)
            problems += find_unserved(config)
            raise config_error(written.locate(errors_of(problems)), where)
        chosen = choose_versions(config.version_policy, folder.versions)
        says_so = version_policy_problems(config.version_policy, folder.name)  # with the rest of validation
        problems = [] if chosen or says_so else [_no_version(folder)]
        problems += _without_version(written, folder)
        try:
            backend = folder.backend
            if backend is None:
                backend, config = choose_backend(config, self._options.backend_directory)
        except AtollError as error:
            problems += validate_config(config, folder.name, complete=False)
            if isinstance(error, NotFoundError):
                problems.append(no_backend(config, self._options.backend_directory, error))
            problems += getattr(error, "problems", ())
            if errors_of(problems):
                raise config_error(written.locate(errors_of(problems)), where) from None
            raise
        configs: dict[int, ModelConfig] = {}
        found: list[Problem] = [*written.warnings, *written.locate(problems)]
        common: dict[str, ModelConfig] = {}  # by the file that the version has
        for version in reversed(chosen or list(folder.versions)[-1:]):
            own = written.versions.get(version)
            start = config if own is None else replace(_identified(own, folder), runtime=config.runtime)
            start = _with_filename(start, folder, version)
            if own is None and start.default_model_filename in common:
                configs[version] = common[start.default_model_filename]
                continue
            complete, problems = self._complete(folder, start, backend, version, read_files)
            found += written.locate(problems, version if own is not None else None)
            configs[version] = complete
            if own is None:
                common[start.default_model_filename] = complete
        if errors_of(found):
            raise config_error(errors_of(found), where)
        return CompleteModel(folder, backend, dict(sorted(configs.items())), written, tuple(found))

    def _ensemble(
        self, folder: ModelFolder, written: WrittenConfig, config: ModelConfig, find_step: FindStep, where: str
    ) -> CompleteModel:
        chosen = choose_versions(config.version_policy, folder.versions)
        says_so = version_policy_problems(config.version_policy, folder.name)
        problems = [] if chosen or says_so else [_no_version(folder)]
        versions = {
            version: _identified(written.of_version(version), folder)
            for version in chosen or list(folder.versions)[-1:]
        }
        problems += _without_version(written, folder)
        found, warnings = complete_ensemble(folder.name, versions, written, problems, find_step, where)
        configs = {version: complete for version, (complete, _) in found.items()}
        steps = {version: models for version, (_, models) in found.items()}
        return CompleteModel(folder, None, configs, written, warnings, steps)

    def _complete(
        self, folder: ModelFolder, config: ModelConfig, backend: Backend, version: int, read_files: bool
    ) -> tuple[ModelConfig, list[Problem]]:
        problems: list[Problem] = []
        signature = None
        by_code = isinstance(backend, CompletesConfig)
        written = config
        if read_files and not self._options.disable_auto_complete_config:
            try:
                signature = self.answers.signature(backend, self.source(folder, config, version))
                if isinstance(backend, CompletesConfig):
                    config, tried = self._by_code(folder, config, backend, version)
                    problems += tried
            except AtollError as error:
                located = isinstance(error, ConfigError) and error.problems
                if not located and not errors_of(validate_config(config, folder.name, complete=False)):
                    raise
                problems += problems_of(error)
        if signature is not None:
            config = fill(config, signature, default_max_batch_size=self._default_max_batch_size(config.backend))
            problems += check(config, signature)
        whole = signature is not None or (by_code and read_files) or self._options.disable_auto_complete_config
        support = self.answers.gpus(backend, self.source(folder, config, version))
        gpus = support.gpus
        problems += validate_config(config, folder.name, complete=whole, gpus=gpus, missing=support.missing)
        if by_code:
            problems = blamed(problems, config, written, self._code(folder, config, version))
        config = normalize(config, name=folder.name, default_instance_count=backend.default_instance_count, gpus=gpus)
        if folder.backend is not None:
            config = replace(config, default_model_filename="")
        problems += find_unserved(config, requests=backend.capabilities.requests)
        problems += strategy_problems(config)
        if read_files and config.sequence_batching is not None and not errors_of(problems):
            problems += initial_state_problems(config, folder.directory)
        return config, problems

    def _by_code(
        self, folder: ModelFolder, config: ModelConfig, backend: CompletesConfig, version: int
    ) -> tuple[ModelConfig, list[Problem]]:
        """What the model's own code makes of the configuration, and warnings of what it could not change."""
        shown = normalize(config, name=folder.name, gpus=self.answers.visible_gpus)
        document = backend.auto_complete(self.source(folder, shown, version))
        if document is None:
            return config, []
        return completed(config, shown, document, self._code(folder, config, version))

    def _code(self, folder: ModelFolder, config: ModelConfig, version: int) -> Path:
        """The file that completes the configuration."""
        source = self.source(folder, config, version)
        if source.backend_directory is not None:
            return source.backend_directory / PYTHON_RUNTIME
        return source.version_directory / (config.default_model_filename or default_model_filename(config.backend))

    def source(self, folder: ModelFolder, config: ModelConfig, version: int) -> ModelSource:
        """A version of the model, as its backend is given it."""
        settings = self._settings.get(config.backend, {})
        backend_directory = None
        if config.runtime == PYTHON_RUNTIME:
            backend_directory = python_based_folder(self._options.backend_directory, config.backend)
            if backend_directory is not None:
                settings = {**self._settings.get(PYTHON, {}), **settings}
        return ModelSource(
            name=folder.name,
            version=version,
            model_directory=folder.directory,
            version_directory=folder.versions[version],
            config=config,
            settings=settings,
            engine=self._engine,
            run_child=self._run_child,
            backend_directory=backend_directory,
        )

    def _default_max_batch_size(self, backend: str) -> int:
        said = next((one for one in (backend, ALL_BACKENDS) if _DEFAULT_BATCH in self._settings.get(one, {})), None)
        if said is None:
            return 4
        text = self._settings[said][_DEFAULT_BATCH]
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            of = f"{said}," if said else ""
            raise InvalidArgumentError(f"--backend-config={of}{_DEFAULT_BATCH}={text}: expected a whole number from 0")
        return int(text)


def shown_to_agents(agents: AgentChain, folder: ModelFolder, written: WrittenConfig) -> ModelFolder:
    """The folder to load the model from, after its agents have seen it.

    Raises ConfigError at the place of the agents' configuration where one refuses the model or is not there, and what
    else an agent raises.
    """
    try:
        return agents.load()
    except (NotFoundError, InvalidArgumentError) as error:
        problem = Problem("model_repository_agents", str(error), "", "", "")
        raise config_error(written.locate([problem]), str(written.file or folder.directory)) from error


def backend_settings(texts: Sequence[str], from_file: Settings | None = None) -> dict[str, dict[str, str]]:
    """`NAME,KEY=VALUE` settings by backend, over those `from_file`; `,KEY=VALUE` or `KEY=VALUE` is for all backends,
    under "".

    Raises InvalidArgumentError for any other form.
    """
    settings: dict[str, dict[str, str]] = {name: dict(one) for name, one in (from_file or {}).items()}
    for text in texts:
        backend, comma, assignment = text.rpartition(",")
        key, equals, value = assignment.partition("=")
        if not equals or not key or "," in backend:
            raise InvalidArgumentError(f"--backend-config={text}: expected NAME,KEY=VALUE")
        settings.setdefault(backend if comma else "", {})[key] = value
    unknown = settings.get(ALL_BACKENDS, {}).keys() - {_DEFAULT_BATCH}
    if unknown:
        logger.warning("settings for all backends are not known here and ignored: %s", ", ".join(sorted(unknown)))
    return settings


def _identified(config: ModelConfig, folder: ModelFolder) -> ModelConfig:
    """With its name and its backend, where these can be told."""
    if folder.backend is not None:
        config = replace(config, backend=folder.backend.name, platform="")
    if folder.model_filename:
        config = replace(config, default_model_filename=folder.model_filename)
    backend = backend_of(config)
    if not backend and not config.platform:
        backend = guess_backend(_files(folder)) or _told_by_content(folder)
    name = folder.name if folder.renamed else config.name or folder.name
    return replace(config, name=name, backend=backend)


def _told_by_content(folder: ModelFolder) -> str:
    """The backend of a file whose name says nothing; "" where there is none, or its first bytes do not tell either."""
    if folder.model_filename:
        return backend_of_file(folder.directory / folder.model_filename)
    latest = folder.versions[max(folder.versions)]
    found = (backend_of_file(latest / name) for name in FILENAMES_OF_ANY_KIND)
    return next((backend for backend in found if backend), "")


def _with_filename(config: ModelConfig, folder: ModelFolder, version: int) -> ModelConfig:
    """With the file of the version that its backend loads, where that is not the backend's default one."""
    if config.default_model_filename or config.runtime.endswith(".py") or folder.backend is not None:
        return config
    there = [entry.name for entry in folder.versions[version].iterdir()]
    return replace(config, default_model_filename=model_filename(config.backend, config.platform, there))


def _demand_versions(folder: ModelFolder, where: str) -> None:
    if not folder.versions:
        entries = sorted(one.name for one in folder.directory.iterdir() if not one.name.startswith("."))
        found = ", ".join(entries[:_SHOWN]) + (", ..." if len(entries) > _SHOWN else "")
        raise ConfigError(
            f"{where}: at least one version must be available under the version policy of model '{folder.name}'; "
            f"found {found or 'nothing'}; versions are folders named by a whole number: put the model file into a "
            f"folder named 1 in {folder.directory}"
        )


def _without_version(written: WrittenConfig, folder: ModelFolder) -> list[Problem]:
    """Configurations of versions that are not there: warned of, as a version may come later."""
    return [
        Problem(
            "",
            f"there is a configuration for version {version}, but no folder {version} in {folder.directory}",
            "",
            "",
            "It has no effect until there is.",
            warning=True,
            file=str(folder.directory / "versions"),
        )
        for version in sorted(written.versions.keys() - folder.versions.keys())
    ]


def _no_version(folder: ModelFolder) -> Problem:
    return Problem(
        "version_policy",
        f"at least one version must be available under the version policy of model '{folder.name}'",
        f"versions {sorted(folder.versions)} in {folder.directory}",
        "a policy that chooses one of them",
        "Name versions that are there, or leave version_policy out to serve the newest.",
    )


def _files(folder: ModelFolder) -> list[str]:
    """The names that a version's files go by: a bare file goes by the default name of its kind."""
    if folder.model_filename:
        return ["model" + Path(folder.model_filename).suffix]
    latest = folder.versions[max(folder.versions)]
    return sorted(entry.name for entry in latest.iterdir())
