"""The agents of one load of one model, from before it is loaded until nothing uses its files any more."""

import enum
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from atoll.config.model_config import ModelConfig, ModelRepositoryAgents
from atoll.errors import AtollError, ConfigError, InternalError
from atoll.repositories.agents.api import Action, AgentModel, RepositoryAgent
from atoll.repositories.agents.registry import find_agent
from atoll.repositories.local import model_folder
from atoll.repositories.repository import ModelFolder
from atoll.repositories.temporary import new_folder, remove_folder

log = logging.getLogger(__name__)

FindAgent = Callable[[str], Callable[[], RepositoryAgent]]


class _State(enum.Enum):
    NEW = "new"
    LOADING = "loading"
    SERVED = "served"
    UNLOADING = "unloading"
    OVER = "over"


_MOVES = {
    (_State.NEW, Action.LOAD): _State.LOADING,
    (_State.LOADING, Action.LOAD_COMPLETE): _State.SERVED,
    (_State.LOADING, Action.LOAD_FAIL): _State.OVER,
    (_State.SERVED, Action.UNLOAD): _State.UNLOADING,
    (_State.UNLOADING, Action.UNLOAD_COMPLETE): _State.OVER,
}


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    agent: RepositoryAgent
    model: AgentModel


class AgentChain:
    """Made before a load and asked once for each action, in the order of `Action`; one thread at a time.

    It owns the folders that its agents asked for, and removes them at LOAD_FAIL or UNLOAD_COMPLETE.
    """

    def __init__(
        self,
        agents: Iterable[ModelRepositoryAgents.Agent],
        folder: ModelFolder,
        config: ModelConfig,
        *,
        external_symlinks: bool = False,
        find: FindAgent = find_agent,
    ) -> None:
        self._wanted = tuple(agents)
        self._folder = folder
        self._config = config
        self._external_symlinks = external_symlinks
        self._find = find
        self._state = _State.NEW
        self._members: list[_Member] = []  # those that LOAD has reached, in its order
        self._own: list[Path] = []

    @classmethod
    def of(
        cls,
        agents: ModelRepositoryAgents | None,
        folder: ModelFolder,
        config: ModelConfig,
        *,
        external_symlinks: bool = False,
    ) -> "AgentChain":
        """The chain of a model's configuration; without agents one that does nothing.

        `external_symlinks`: as for the repository; it concerns folders that agents make.
        """
        return cls(agents.agents if agents else (), folder, config, external_symlinks=external_symlinks)

    @property
    def replaced(self) -> bool:
        """After `load`: an agent named another folder, which has a configuration of its own."""
        return bool(self._members) and self._members[-1].model.directory != self._folder.directory

    def load(self) -> ModelFolder:
        """Show the model to each agent. Returns the folder to load it from.

        Raises NotFoundError for an agent that is not installed (none has then been called), and what refuses the
        model: an agent's own AtollError, ConfigError for a folder of its that cannot be used, InternalError for
        anything else that an agent raises. LOAD_FAIL has then been told already, and the chain is over.
        """
        self._move(Action.LOAD)
        try:
            factories = [self._find(one.name) for one in self._wanted]
            for wanted, factory in zip(self._wanted, factories, strict=True):
                self._load_one(wanted, factory)
            return self._loaded_folder()
        except BaseException:
            self.load_fail()
            raise

    def load_complete(self) -> None:
        """The model is ready."""
        self._notify(Action.LOAD_COMPLETE, reversed(self._members))

    def load_fail(self) -> None:
        """The model was not loaded. Nothing may use its files any more."""
        self._notify(Action.LOAD_FAIL, reversed(self._members))
        self._remove()

    def unload(self) -> None:
        """The model is about to be unloaded."""
        self._notify(Action.UNLOAD, self._members)

    def unload_complete(self) -> None:
        """Nothing uses the model's files any more."""
        self._notify(Action.UNLOAD_COMPLETE, reversed(self._members))
        self._remove()

    def _load_one(self, wanted: ModelRepositoryAgents.Agent, factory: Callable[[], RepositoryAgent]) -> None:
        directory = self._members[-1].model.directory if self._members else self._folder.directory
        model = AgentModel(self._folder.name, directory, self._config, dict(wanted.parameters), self._new_folder)
        try:
            agent = factory()
            self._members.append(_Member(wanted.name, agent, model))
            moved = agent.act(Action.LOAD, model)
        except AtollError:
            raise
        except Exception as error:
            raise InternalError(
                f"repository agent '{wanted.name}' failed on {Action.LOAD.value} of model '{self._folder.name}': "
                f"{type(error).__name__}: {error}"
            ) from error
        if moved is not None:
            self._members[-1] = _Member(wanted.name, agent, replace(model, directory=self._usable(wanted.name, moved)))

    def _usable(self, agent: str, moved: object) -> Path:
        if not isinstance(moved, Path) or not moved.is_absolute() or not moved.is_dir():
            raise ConfigError(
                f"repository agent '{agent}' returned {str(moved)!r} as the folder of model '{self._folder.name}'; "
                "expected the absolute pathlib.Path of an existing folder, or None"
            )
        return moved

    def _loaded_folder(self) -> ModelFolder:
        if not self.replaced:
            return self._folder
        directory = self._members[-1].model.directory
        # Agents may save copying by linking to files of the model, which may be links into its repository.
        own = [str(one.resolve()) for one in (directory, self._folder.directory, *self._own)]
        if self._folder.repository and Path(self._folder.repository).is_dir():
            own.append(str(Path(self._folder.repository).resolve()))
        return model_folder(self._folder.name, directory, self._folder.repository, own, self._external_symlinks)

    def _new_folder(self) -> Path:
        if self._state is _State.OVER:
            raise InternalError("a folder was asked for after the last action; ask at LOAD. This is a bug of the agent")
        self._own.append(new_folder("atoll-agent-", f"an agent of model '{self._folder.name}'"))
        return self._own[-1]

    def _notify(self, action: Action, members: Iterable[_Member]) -> None:
        self._move(action)
        directory = self._members[-1].model.directory if self._members else None
        for member in members:
            model = replace(member.model, directory=directory or member.model.directory)
            try:
                member.agent.act(action, model)
            except Exception:
                log.exception(
                    "repository agent '%s' failed on %s of model '%s'", member.name, action.value, self._folder.name
                )

    def _move(self, action: Action) -> None:
        state = _MOVES.get((self._state, action))
        if state is None:
            raise RuntimeError(f"{action.value} of a model whose agents' chain is {self._state.value}. This is a bug")
        self._state = state

    def _remove(self) -> None:
        for folder in self._own:
            remove_folder(folder)
        self._own.clear()
