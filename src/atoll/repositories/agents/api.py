"""The contract of a repository agent: all that an author of one reads.

An agent is a class that an entry point of the group "atoll.repository_agents" names; the entry point's name is what
`name:` says in `model_repository_agents` of config.pbtxt. A model may name several.

Life of an agent: for each load of a model the class is called without arguments, so that an object's attributes belong
to one load. Then `act` is called with LOAD and, depending on how that ends, with LOAD_FAIL, or with LOAD_COMPLETE,
UNLOAD and UNLOAD_COMPLETE. With several agents LOAD and UNLOAD go through them in the order of the configuration, the
others in reverse. When a model is loaded anew, a second object goes through LOAD before the first one's UNLOAD. Calls
come from different threads, one at a time for one object. A model waits for its agents: return soon.

Source for the actions and their order: TRITONREPOAGENT_ActionType as the real server 2.51 carries it out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from atoll.config.model_config import ModelConfig


class Action(Enum):
    """What is happening to the model."""

    LOAD = "LOAD"
    """It is about to be loaded. The agent may refuse it, or name another folder to load it from."""
    LOAD_COMPLETE = "LOAD_COMPLETE"
    """It is loaded and ready."""
    LOAD_FAIL = "LOAD_FAIL"
    """It was not loaded, perhaps because an agent refused it: this one or a later one. The last call of this object."""
    UNLOAD = "UNLOAD"
    """It is about to be unloaded."""
    UNLOAD_COMPLETE = "UNLOAD_COMPLETE"
    """Nothing uses its files any more. The last call of this object."""


@dataclass(frozen=True, slots=True)
class AgentModel:
    """The model, as it is told to one agent.

    `directory`: the model's folder on local disk, as the agents before left it. It may be the repository's own: read
    it, do not write to it. In the calls after LOAD it is the folder that the model was loaded from.
    `config`: what the user wrote, before anything was filled in. `parameters`: those of this agent in it.
    `new_folder()` makes an empty folder (mode 0700) for this load. It is removed after the last agent's last call; an
    agent has nothing to clean up there.
    """

    name: str
    directory: Path
    config: ModelConfig
    parameters: Mapping[str, str]
    new_folder: Callable[[], Path]


class RepositoryAgent(Protocol):
    """One agent of one load of one model."""

    def act(self, action: Action, model: AgentModel) -> Path | None:
        """Told what is happening.

        At LOAD: returns None to go on with the folder as it is, or another folder, complete with config.pbtxt and
        version folders, that must stay as it is until UNLOAD_COMPLETE or LOAD_FAIL. Raising refuses the model: with a
        ConfigError whose text says what is wrong and what to do, or anything else, which becomes an InternalError.
        At the other actions the result is not used, and what is raised is logged and changes nothing.
        """
