"""What a model may do with the server's other models besides running them: load, unload, ask whether they are ready."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.backends.python.utils.arguments import as_flag, mismatch
from atoll.backends.python.utils.current import current_host, refusals_of
from atoll.backends.python.utils.errors import TritonModelException


def load_model(model_name: str, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
    """Load or reload a model, and wait for it.

    `config` is a configuration, as the text of a JSON object, in the place of the model's own; `files` are contents by
    path ("file:1/model.onnx") in the place of the model's directory. Do not call it from `initialize`: the models
    of a server that starts wait for each other. Raises TypeError for arguments of other types, TritonModelException
    where the model is not loaded.
    """
    if not isinstance(model_name, str) or not isinstance(config, str):
        raise mismatch(
            "(model_name: str, config: str = '', files: object = None) -> None",
            (model_name, config) if config != "" else (model_name,),
            function="load_model",
        )
    if files is not None and not isinstance(files, dict):
        raise TritonModelException(
            f"failed to load model '{model_name}', files should be a dictionary of file paths and file contents"
        )
    for path, content in (files or {}).items():
        if not isinstance(path, str):
            raise RuntimeError(f"a file's path is a str, not {type(path)}")
        if not isinstance(content, bytes):
            raise TypeError(f"Object of type '{type(content).__name__}' is not an instance of 'bytes'")
    host = current_host()
    with refusals_of("Failed to load model"):
        host.load_model(model_name, config=config, files=files)


def unload_model(model_name: str, unload_dependents: bool = False) -> None:
    """Unload a model, and with `unload_dependents` those that it is made of; what they are executing is finished first.

    Raises TypeError for arguments of other types, TritonModelException where the server refuses.
    """
    dependents = as_flag(unload_dependents)
    if not isinstance(model_name, str) or dependents is None:
        raise mismatch(
            "(model_name: str, unload_dependents: bool = False) -> None",
            (model_name,) if unload_dependents is False else (model_name, unload_dependents),
            function="unload_model",
        )
    host = current_host()
    with refusals_of("Failed to unload model"):
        host.unload_model(model_name, unload_dependents=dependents)


def is_model_ready(model_name: str, model_version: str = "") -> bool:
    """Whether a model takes requests, in that version or, "", in the one that its version policy would choose."""
    if not isinstance(model_name, str) or not isinstance(model_version, str):
        raise mismatch(
            "(model_name: str, model_version: str = '') -> bool",
            (model_name, model_version) if model_version != "" else (model_name,),
            function="is_model_ready",
        )
    host = current_host()
    with refusals_of("Failed to check model readiness"):
        return host.is_model_ready(model_name, model_version)
