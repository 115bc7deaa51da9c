"""Repository agents by name: found through the entry points "atoll.repository_agents", imported when a model asks."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

from atoll.config.problems import suggestion
from atoll.errors import InternalError, NotFoundError
from atoll.repositories.agents.api import RepositoryAgent

GROUP = "atoll.repository_agents"


def agent_names() -> list[str]:
    """The names of all installed agents, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_agent(name: str) -> Callable[[], RepositoryAgent]:
    """What makes an agent of that name.

    Raises NotFoundError listing the installed ones when there is none, InternalError when its package cannot be
    imported.
    """
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        near = suggestion(name, agent_names())
        raise NotFoundError(
            f"unable to find repository agent '{name}': no installed package offers it. "
            f"Installed agents: {', '.join(agent_names()) or 'none'}" + (f". Did you mean '{near}'?" if near else "")
        )
    try:
        return cast(Callable[[], RepositoryAgent], points[0].load())
    except Exception as error:  # whatever somebody's module does on import
        raise InternalError(
            f"repository agent '{name}' ({points[0].value}) cannot be imported: {type(error).__name__}: {error}"
        ) from error
