"""Everything that is wrong with the models of some repositories, found without serving any of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.config.problems import Problem, errors_of, problems_of
from atoll.errors import AtollError, ConfigError, InternalError
from atoll.models.catalog import Catalog, Listing, ModelKey
from atoll.models.completion import CompleteModel, Completion, shown_to_agents
from atoll.models.ensembles.steps import (
    MOST_NESTED,
    FindStep,
    StepModel,
    StepVersion,
    circular,
    nested_in,
    resolve,
    too_nested,
)
from atoll.models.loader import Loader
from atoll.models.record import failure
from atoll.repositories.agents.chain import AgentChain
from atoll.repositories.lease import leased
from atoll.repositories.repository import ModelFolder, Repository
from atoll.tensor import DataType

# How deep it is looked into ensembles inside each other: further than they may be, so that most of those that are
# nested too deep are told from those that are not.
_DEEPEST = MOST_NESTED + MOST_NESTED // 2


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
    bench = _Bench(listing, completion, loader, external_symlinks, read=loader is not None)
    for key in listing.models:
        yield bench.look(key).diagnosis


def step_finder(repository: Repository, name: str, completion: Completion) -> FindStep:
    """Finds the models of the steps of an ensemble of that name in its own repository, and looks at their files."""
    bench: list[_Bench] = []  # when first asked: a repository may be large, and most models are no ensembles

    def find(step: str) -> StepModel:
        if not bench:
            bench.append(_Bench(Catalog([repository], namespacing=False).list(), completion, None, True, read=True))
        return bench[0].find((ModelKey(name),), step)

    return find


@dataclass(frozen=True, slots=True)
class _Seen:
    """A model that was looked at; `step` is what an ensemble is told of it."""

    diagnosis: Diagnosis
    step: StepModel


class _Bench:
    """Looks at each model once: when its turn comes, or when an ensemble needs it."""

    def __init__(
        self,
        listing: Listing,
        completion: Completion,
        loader: Loader | None,
        external_symlinks: bool,
        *,
        read: bool,
    ):
        self._listing = listing
        self._completion = completion
        self._loader = loader
        self._external_symlinks = external_symlinks
        self._read = read  # the model files
        self._seen: dict[ModelKey, _Seen] = {}

    def look(self, key: ModelKey, way: tuple[ModelKey, ...] = ()) -> _Seen:
        """`way`: the ensembles of which it is a step of a step of ..."""
        if key not in self._seen:
            repository = self._listing.models[key]
            try:
                with leased(repository, key.name) as folder:
                    self._seen[key] = self._look(key, repository, folder, (*way, key))
            except Exception as error:
                known = error if isinstance(error, AtollError) else InternalError(f"{type(error).__name__}: {error}")
                found = Diagnosis(str(key), repository.location, (), problems_of(known))
                self._seen[key] = _Seen(found, StepModel(key, error=known))
        return self._seen[key]

    def _look(self, key: ModelKey, repository: Repository, folder: ModelFolder, way: tuple[ModelKey, ...]) -> _Seen:
        completion, loader = self._completion, self._loader
        written = completion.written(folder)
        agents = AgentChain.of(
            written.config.model_repository_agents, folder, written.config, external_symlinks=self._external_symlinks
        )
        prepared = shown_to_agents(agents, folder, written)
        try:
            if prepared != folder:
                written = completion.written(prepared)
            complete = completion.complete(prepared, written, read_files=self._read, find_step=partial(self.find, way))
            problems = complete.warnings
            failed: dict[int, AtollError] = {}
            if loader is not None:
                failed = _load(complete, loader)
                problems += tuple(
                    _of_version(one, complete, version)
                    for version, error in failed.items()
                    for one in problems_of(error)
                )
        except BaseException:
            agents.load_fail()
            raise
        agents.load_complete()
        agents.unload()
        agents.unload_complete()
        versions = {
            version: StepVersion(
                config if self._read or _is_whole(config) else None,
                nested=nested_in(complete.steps[version]) if version in complete.steps else 0,
            )
            for version, config in complete.configs.items()
            if version not in failed
        }
        states = {str(version): failure(error) for version, error in failed.items()}
        step = StepModel(key, versions, next(iter(failed.values()), None), states)
        return _Seen(Diagnosis(str(key), repository.location, tuple(complete.configs), problems), step)

    def find(self, way: tuple[ModelKey, ...], name: str) -> StepModel:
        """What is known of the model of a step of the last of these ensembles."""
        key = resolve(name, way[-1].namespace, self._listing.models)
        if key is None:
            return StepModel(None, names=tuple(one.name for one in self._listing.models))
        if key in way:
            circle = [way[-1], *way[way.index(key) : -1]]
            return StepModel(key, error=ConfigError(circular(str(way[-1]), map(str, circle)).message))
        if len(way) > _DEEPEST:
            return StepModel(key, error=ConfigError(too_nested(str(way[-1]), name, 0).message))
        return self.look(key, way).step


def _is_whole(config: ModelConfig) -> bool:
    """Whether nothing of it would be taken from the model's file."""
    tensors: tuple[ModelInput | ModelOutput, ...] = (*config.input, *config.output)
    given = all(one.dims and one.data_type is not DataType.INVALID for one in tensors)
    return bool(config.input and config.output) and given


def _load(complete: CompleteModel, loader: Loader) -> dict[int, AtollError]:
    """The versions that cannot be loaded: one does not hide another."""
    failed: dict[int, AtollError] = {}
    for version in complete.configs:
        try:
            model = loader.build(complete, version)
        except AtollError as error:
            failed[version] = error
        else:
            model.refuse()
            model.unload(deadline_ns=0)
    return failed


def _of_version(problem: Problem, complete: CompleteModel, version: int) -> Problem:
    """With the place where its key is written, or else with the version that it is about."""
    if problem.path:
        return complete.written.locate([problem], version)[0]
    return Problem("", f"version {version}: {problem.message}", "", "", "")
