"""What a model's files hold, beside the complete configuration with which it would be served."""

from dataclasses import dataclass

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem
from atoll.config.signature import ModelSignature
from atoll.models.completion import Completion
from atoll.repositories.repository import Repository


@dataclass(frozen=True, slots=True)
class Inspection:
    """`signature` is what the newest version's file says, None where its backend cannot tell."""

    model: str
    version: int
    config: ModelConfig
    signature: ModelSignature | None
    problems: tuple[Problem, ...] = ()


def inspect(repository: Repository, name: str, completion: Completion) -> Inspection:
    """The model `name` of a repository. Raises AtollError with everything that is wrong."""
    folder = repository.folder(name)
    written = completion.written(folder)
    complete = completion.complete(folder, written)
    version, config = list(complete.configs.items())[-1]
    signature = complete.backend.signature(completion.source(folder, config, version))
    return Inspection(name, version, config, signature, complete.warnings)
