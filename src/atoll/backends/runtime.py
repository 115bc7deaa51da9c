"""Imports a backend's heavy library when a model first needs it, or says which extra has it."""

import importlib
from typing import Any

from atoll.errors import MissingExtraError


def import_runtime(module: str, *, backend: str, library: str, extra: str) -> Any:
    """The module. Raises MissingExtraError with the command that installs it where it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"the {backend} backend needs {library}, which cannot be imported ({error}); "
            f'install it with: pip install "atoll[{extra}]"'
        ) from error
