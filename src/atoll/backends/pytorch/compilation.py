"""torch.compile, where a model's parameters ask for it."""

from typing import Any

from atoll.backends.pytorch.settings import ModelSettings


def compiled(torch: Any, module: Any, settings: ModelSettings) -> Any:
    """The module, to be compiled by what is executed first; as it is where nobody asks."""
    return module if settings.compile is None else torch.compile(module, **settings.compile)
