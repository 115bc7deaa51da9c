"""What the repository index says: each model, its versions, their states and the reasons."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A line of the repository index. `version` and `state` are "" for a model that nobody has tried to load."""

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands in the index: by name, then number."""
        return self.name, int(self.version or 0)
