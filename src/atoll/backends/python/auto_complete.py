"""What a model's `auto_complete_config` makes of its configuration.

Imported by child processes: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from atoll.backends.python.failure import failure_text, place_of, places_of
from atoll.backends.python.model_file import CLASS_NAME
from atoll.backends.python.module_loading import load_module, unload_module
from atoll.backends.python.utils import ModelConfig
from atoll.errors import AtollError, InternalError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType


def auto_complete(
    file: Path,
    config: Mapping[str, Any],
    *,
    version: int = 1,
    own_process: bool = False,
    module: ModuleType | None = None,
) -> dict[str, Any]:
    """The configuration as the model's class completes it; unchanged where it has no such method.

    `config` is the JSON form. The module is imported for this alone, and forgotten, unless it is given. Raises
    InternalError with the real server's text, naming the file and line.
    """
    name = config.get("name", "")
    loaded = complete = None
    try:
        if module is None:
            module = loaded = load_module(file, version=version, own_process=own_process)
        complete = getattr(getattr(module, CLASS_NAME), "auto_complete_config", None)
        if complete is None:
            return dict(config)
        completed = complete(ModelConfig(json.dumps(config)))
        if not isinstance(completed, ModelConfig):
            raise InternalError(
                f"auto_complete_config function in model '{name}' must return a valid pb.ModelConfig object."
                f"\n\nAt:\n  {place_of(complete, file)}\n"
            )
        document: dict[str, Any] = json.loads(json.dumps(completed.as_dict(), default=_plain))
        return document
    except BaseException as error:  # SystemExit is the model's too
        if isinstance(error, AtollError) and not places_of(error):
            raise  # the file is none, or what it returned
        raise InternalError(failure_text(error, place_of(complete, file))) from error
    finally:
        if loaded is not None:
            unload_module(loaded)


def _plain(value: Any) -> Any:
    """numpy's numbers as JSON's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be part of a configuration")
