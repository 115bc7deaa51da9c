"""What a model's files hold, beside the complete configuration with which it would be served."""

from dataclasses import dataclass, replace

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem, errors_of, problems_of
from atoll.config.signature import ModelSignature
from atoll.config.written import WrittenConfig
from atoll.errors import AtollError
from atoll.models.completion import CompleteModel, Completion
from atoll.models.ensembles.steps import FindStep, StepModel
from atoll.repositories.lease import leased
from atoll.repositories.repository import ModelFolder, Repository


@dataclass(frozen=True, slots=True)
class Inspection:
    """`signature` is what the newest version's file says, None where its backend cannot tell.

    Where the configuration as it is written cannot be used, `problems` says why, and `config` is the one that the model
    would have if nothing but its backend and its file were written.
    """

    model: str
    version: int
    config: ModelConfig
    signature: ModelSignature | None
    problems: tuple[Problem, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the model would be served with what is written."""
        return not errors_of(self.problems)


def inspect(
    repository: Repository, name: str, completion: Completion, find_step: FindStep = lambda name: StepModel(None)
) -> Inspection:
    """The model `name` of a repository. `find_step` finds the models of an ensemble's steps. Raises AtollError with
    everything that is wrong where even the model's files do not tell what it is.
    """
    with leased(repository, name) as folder:
        return _inspect(folder, completion, find_step)


def _inspect(folder: ModelFolder, completion: Completion, find_step: FindStep) -> Inspection:
    written: WrittenConfig | None = None
    try:
        written = completion.written(folder)
        return _inspection(folder, completion, completion.complete(folder, written, find_step=find_step))
    except AtollError as error:
        try:
            found = _inspection(folder, completion, completion.complete(folder, _least(written)))
        except AtollError:
            raise error from None
        return replace(found, problems=problems_of(error) + found.problems)


def _least(written: WrittenConfig | None) -> WrittenConfig:
    """As little as tells which file is the model, of what could be read."""
    if written is None:
        return WrittenConfig(config=ModelConfig())
    config = written.config
    least = ModelConfig(
        platform=config.platform,
        backend=config.backend,
        runtime=config.runtime,
        default_model_filename=config.default_model_filename,
    )
    return WrittenConfig(config=least)


def _inspection(folder: ModelFolder, completion: Completion, complete: CompleteModel) -> Inspection:
    version, config = list(complete.configs.items())[-1]
    signature = None
    if complete.backend is not None:
        signature = completion.answers.signature(complete.backend, completion.source(folder, config, version))
    return Inspection(folder.name, version, config, signature, (*complete.warnings, *_own(complete, version)))


def _own(complete: CompleteModel, version: int) -> list[Problem]:
    """Saved as the whole model's configuration, this one would become that of versions that have another now."""
    own = [one for one in complete.written.versions if one in complete.folder.versions]
    if not own or list(complete.folder.versions) == [version]:
        return []
    message = f"versions have configurations of their own: {', '.join(map(str, own))}; this is version {version}'s"
    remedy = "Do not save it as the configuration of the whole model."
    return [Problem("", message, "", "", remedy, warning=True, file=str(complete.folder.directory / "versions"))]
