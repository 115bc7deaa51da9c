"""From a model folder to running models: the one place where a model is put together.

Read the configuration, let the backend say what the files hold, fill in, check everything at once, then load each
version that the policy chooses.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from atoll.backends.api import Backend, ModelSource, Placement
from atoll.backends.registry import find_backend
from atoll.config.agreement import check
from atoll.config.autofill import fill, normalize
from atoll.config.model_config import ModelConfig, ModelInstanceGroup
from atoll.config.platforms import backend_of, guess_backend
from atoll.config.problems import Problem, config_error, errors_of
from atoll.config.textproto import read_config_text
from atoll.config.validate import validate_config
from atoll.config.versions import choose_versions
from atoll.errors import ConfigError, InvalidArgumentError
from atoll.execution.batch import plan_batches
from atoll.execution.instance import ModelInstance
from atoll.execution.pool import InstancePool
from atoll.models.model import Model
from atoll.models.request_validation import request_spec
from atoll.models.unserved import find_unserved
from atoll.observability.statistics import StatisticsRecorder
from atoll.options import ServerOptions
from atoll.repositories.local import ModelFolder
from atoll.scheduling.choose import choose_scheduler

logger = logging.getLogger(__name__)


class Loader:
    """Builds models under one server's options. Thread-safe: it keeps nothing of what it builds."""

    def __init__(self, options: ServerOptions):
        self._options = options
        self._settings = backend_settings(options.backend_config)

    def load(self, folder: ModelFolder) -> list[Model]:
        """Every version of the model that its policy chooses, ready to take requests.

        Raises ConfigError with everything that is wrong, or the backend's own error; nothing is then left running.
        """
        started = monotonic()
        config, backend, versions = self._complete(folder)
        models: list[Model] = []
        try:
            for version in versions:
                model = self._build(folder, config, backend, version)
                models.append(model)
        except BaseException:
            for model in models:
                model.refuse()
                model.unload(deadline_ns=0)
            raise
        names = ", ".join(model.version for model in models)
        logger.info("loaded '%s' version %s in %.2f s", folder.name, names, monotonic() - started)
        return models

    def _complete(self, folder: ModelFolder) -> tuple[ModelConfig, Backend, list[int]]:
        """The configuration with everything filled in and nothing wrong, its backend, and the versions to load."""
        where = str(folder.config_file or folder.directory)
        config = _written(folder)
        if not folder.versions:
            raise ConfigError(
                f"{where}: at least one version must be available under the version policy of model '{folder.name}'; "
                f"put the model file into a folder named 1 in {folder.directory}"
            )
        files = _files(folder)
        config = replace(config, name=config.name or folder.name, backend=backend_of(config) or guess_backend(files))
        if not config.backend:
            raise config_error(errors_of(validate_config(config, folder.name, files=files, complete=False)), where)
        backend = find_backend(config.backend)
        versions = choose_versions(config.version_policy, folder.versions)
        if not versions:
            raise ConfigError(
                f"{where}: at least one version must be available under the version policy of model '{folder.name}'; "
                f"found versions {sorted(folder.versions)}"
            )
        problems: list[Problem] = []
        if not self._options.disable_auto_complete_config:
            signature = backend.signature(self._source(folder, config, versions[-1]))
            if signature is not None:
                config = fill(config, signature, default_max_batch_size=self._default_max_batch_size(config.backend))
                problems += check(config, signature)
        problems += validate_config(config, folder.name)
        config = normalize(config, name=folder.name, default_instance_count=backend.default_instance_count)
        problems += find_unserved(config)
        if errors_of(problems):
            raise config_error(errors_of(problems), where)
        for problem in problems:
            logger.warning("%s: %s", where, problem)
        return config, backend, versions

    def _build(self, folder: ModelFolder, config: ModelConfig, backend: Backend, version: int) -> Model:
        backend_model = backend.load(self._source(folder, config, version))
        plan = plan_batches(config)
        statistics = StatisticsRecorder(config.name, str(version))
        instances: list[ModelInstance] = []
        try:
            for placement in placements(config.instance_group):
                instance = backend_model.instance(placement)
                instances.append(ModelInstance(placement.name, instance, plan, str(version), statistics))
        except BaseException:
            for one in instances:
                one.close()
            backend_model.close()
            raise
        scheduler, waits = choose_scheduler(config)
        pool = InstancePool(
            config.name,
            scheduler,
            instances,
            bounded=backend.capabilities.bounded,
            waits=waits,
            submitter_may_drive=self._options.drive_on_submit,
        )
        return Model(
            config,
            str(version),
            platform=config.platform or config.backend,
            spec=request_spec(config),
            pool=pool,
            backend_model=backend_model,
            statistics=statistics,
        )

    def _source(self, folder: ModelFolder, config: ModelConfig, version: int) -> ModelSource:
        return ModelSource(
            name=folder.name,
            version=version,
            model_directory=folder.directory,
            version_directory=folder.versions[version],
            config=config,
            settings=self._settings.get(config.backend, {}),
        )

    def _default_max_batch_size(self, backend: str) -> int:
        text = self._settings.get(backend, {}).get("default-max-batch-size", "4")
        if not text.isascii() or not text.isdigit():
            raise InvalidArgumentError(
                f"--backend-config={backend},default-max-batch-size={text}: expected a whole number from 0"
            )
        return int(text)


def backend_settings(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """`NAME,KEY=VALUE` settings by backend; `,KEY=VALUE` or `KEY=VALUE` is for all of them, under "".

    Raises InvalidArgumentError for any other form.
    """
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        backend, comma, assignment = text.rpartition(",")
        key, equals, value = assignment.partition("=")
        if not equals or not key or "," in backend:
            raise InvalidArgumentError(f"--backend-config={text}: expected NAME,KEY=VALUE")
        settings.setdefault(backend if comma else "", {})[key] = value
    common = settings.pop("", {})
    if common:
        logger.warning("settings for all backends are not known here and ignored: %s", ", ".join(common))
    return settings


def placements(groups: Sequence[ModelInstanceGroup]) -> list[Placement]:
    """One placement for each instance, named as Triton names them."""
    found = []
    for group in groups:
        devices = group.gpus or (0,)
        on_gpu = group.kind is ModelInstanceGroup.Kind.KIND_GPU
        number = 0
        for device in devices if on_gpu else (0,):
            for _ in range(group.count):
                name = f"{group.name}_{number}_gpu{device}" if on_gpu else f"{group.name}_{number}"
                found.append(Placement(name, group.kind.name, device))
                number += 1
    return found


def _written(folder: ModelFolder) -> ModelConfig:
    """What the user wrote."""
    if folder.config_file is None:
        config = ModelConfig(name=folder.name)
    else:
        try:
            text = folder.config_file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{folder.config_file}: cannot be read: {error.strerror}") from error
        config = read_config_text(text, str(folder.config_file))
    if folder.model_filename:
        config = replace(config, default_model_filename=folder.model_filename)
    return config


def _files(folder: ModelFolder) -> list[str]:
    """The names that a version's files go by: a bare file goes by the default name of its kind."""
    if folder.model_filename:
        return ["model" + Path(folder.model_filename).suffix]
    latest = folder.versions[max(folder.versions)]
    return sorted(entry.name for entry in latest.iterdir())
