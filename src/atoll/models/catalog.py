"""Which models there are to serve: those of all repositories together, and those that the server's file lists."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from atoll.config.problems import suggestion
from atoll.errors import AtollError, ConfigError, NotFoundError, UnavailableError
from atoll.repositories.repository import Repository


@dataclass(frozen=True, slots=True, order=True)
class ModelKey:
    """What a model is known by: its name, and under namespacing also the repository that it comes from."""

    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}::{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Listing:
    """What a look at the repositories found.

    `clashes` are names that several repositories have, which none of them can then serve. `unreachable` are the
    repositories that could not be asked: nothing is known of their models.
    """

    models: Mapping[ModelKey, Repository]
    clashes: Mapping[ModelKey, AtollError] = field(default_factory=dict)
    unreachable: Mapping[str, AtollError] = field(default_factory=dict)


class Catalog:
    """The repositories in the operator's order, and after them those that were added later."""

    def __init__(self, repositories: Sequence[Repository], *, namespacing: bool):
        self.repositories = tuple(repositories)
        self.namespacing = namespacing

    def add(self, repository: Repository) -> None:
        """One more, the last in order. Of the caller it is demanded that nobody else adds or removes meanwhile."""
        self.repositories = (*self.repositories, repository)

    def remove(self, repository: Repository) -> None:
        """It is looked into no more; what was loaded from it stays."""
        self.repositories = tuple(one for one in self.repositories if one is not repository)

    def list(self) -> Listing:
        """Every model of every repository. Never raises: what cannot be asked is named in the listing."""
        found: dict[ModelKey, Repository] = {}
        clashes: dict[ModelKey, AtollError] = {}
        unreachable: dict[str, AtollError] = {}
        for repository in self.repositories:
            try:
                names = repository.names()
            except AtollError as error:
                unreachable[repository.location] = error
                continue
            for name in names:
                key = self.key(name, repository)
                if key in found:
                    clashes[key] = _clash(name, [found[key].location, repository.location])
                else:
                    found[key] = repository
        models = {key: repository for key, repository in found.items() if key not in clashes}
        return Listing(models, clashes, unreachable)

    def find(self, name: str) -> dict[ModelKey, Repository]:
        """The repositories that have a model of this name now: one, or with namespaces perhaps several.

        Raises NotFoundError where none has, ConfigError where several have and cannot, UnavailableError where one that
        could not be asked may have it.
        """
        return named(name, self.list())

    def key(self, name: str, repository: Repository) -> ModelKey:
        """What a model of this repository is known by."""
        return ModelKey(name, repository.location if self.namespacing else "")


def named(name: str, listing: Listing) -> dict[ModelKey, Repository]:
    """The models of this name in a listing. Raises as `Catalog.find` does."""
    found = {key: repository for key, repository in listing.models.items() if key.name == name}
    if found:
        return found
    for key, error in listing.clashes.items():
        if key.name == name:
            raise error
    if listing.unreachable:
        raise UnavailableError(
            f"failed to load '{name}', no reachable repository has it: {_joined(listing.unreachable.values())}"
        )
    near = suggestion(name, (key.name for key in listing.models))
    raise NotFoundError(
        f"failed to load '{name}', failed to poll from model repository: no repository has a model of that name"
        + (f"; did you mean '{near}'?" if near else "")
    )


def _clash(name: str, locations: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"model appears in two or more repositories: '{name}' is in {', '.join(locations)}; rename one of the folders, "
        "or serve with --model-namespacing=true"
    )


def _joined(errors: Iterable[AtollError]) -> str:
    return "; ".join(str(error) for error in errors)
