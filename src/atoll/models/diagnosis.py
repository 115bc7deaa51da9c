"""Everything that is wrong with the models of some repositories, found without serving any of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from atoll.config.problems import Problem, errors_of, problems_of
from atoll.errors import AtollError, InternalError
from atoll.models.catalog import Catalog, ModelKey
from atoll.models.completion import CompleteModel, Completion, shown_to_agents
from atoll.models.loader import Loader
from atoll.repositories.agents.chain import AgentChain
from atoll.repositories.lease import leased
from atoll.repositories.repository import ModelFolder, Repository


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A model, and what was found: `problems` has the warnings too. `versions` are those that would be served."""

    model: str
    repository: str
    versions: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether the model can be served."""
        return not errors_of(self.problems)


def diagnose(
    catalog: Catalog, completion: Completion, loader: Loader | None, *, external_symlinks: bool = False
) -> Iterator[Diagnosis]:
    """One model after the other. With a `loader` each version is loaded, warmed up and freed again; without, the model
    files are not opened.

    Raises NotFoundError, UnavailableError for a repository that does not exist or cannot be asked.
    """
    listing = catalog.list()
    for error in listing.unreachable.values():
        raise error
    for key, error in listing.clashes.items():
        yield Diagnosis(str(key), "", (), problems_of(error))
    for key, repository in listing.models.items():
        try:
            with leased(repository, key.name) as folder:
                yield _diagnose(key, repository, folder, completion, loader, external_symlinks)
        except AtollError as error:
            yield Diagnosis(str(key), repository.location, (), problems_of(error))
        except Exception as error:
            unexpected = InternalError(f"{type(error).__name__}: {error}")
            yield Diagnosis(str(key), repository.location, (), problems_of(unexpected))


def _diagnose(
    key: ModelKey,
    repository: Repository,
    folder: ModelFolder,
    completion: Completion,
    loader: Loader | None,
    external_symlinks: bool,
) -> Diagnosis:
    written = completion.written(folder)
    agents = AgentChain.of(
        written.config.model_repository_agents, folder, written.config, external_symlinks=external_symlinks
    )
    prepared = shown_to_agents(agents, folder, written)
    try:
        if prepared != folder:
            written = completion.written(prepared)
        complete = completion.complete(prepared, written, read_files=loader is not None)
        problems = complete.warnings
        if loader is not None:
            problems += _load(complete, loader)
    except BaseException:
        agents.load_fail()
        raise
    agents.load_complete()
    agents.unload()
    agents.unload_complete()
    return Diagnosis(str(key), repository.location, tuple(complete.configs), problems)


def _load(complete: CompleteModel, loader: Loader) -> tuple[Problem, ...]:
    """What is wrong with single versions: one that cannot be loaded does not hide another."""
    problems: list[Problem] = []
    for version in complete.configs:
        try:
            model = loader.build(complete, version)
        except AtollError as error:
            problems += [_of_version(one, complete, version) for one in problems_of(error)]
        else:
            model.refuse()
            model.unload(deadline_ns=0)
    return tuple(problems)


def _of_version(problem: Problem, complete: CompleteModel, version: int) -> Problem:
    """With the place where its key is written, or else with the version that it is about."""
    if problem.path:
        return complete.written.locate([problem], version)[0]
    return Problem("", f"version {version}: {problem.message}", "", "", "")
