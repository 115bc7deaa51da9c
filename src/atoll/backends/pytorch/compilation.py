"""torch.compile, where a model's parameters ask for it."""

from typing import Any

from atoll.backends.pytorch.options import ModelOptions


def compiled(torch: Any, module: Any, options: ModelOptions) -> Any:
    """The module, to be compiled by what is executed first; as it is where nobody asks."""
    return module if options.compile is None else torch.compile(module, **options.compile)
