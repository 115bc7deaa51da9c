"""The backend "python": a model is a file with a class TritonPythonModel."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atoll.backends.api import Capabilities, ChildRecipe, Engine, ModelSource, Placement
from atoll.backends.python.environments.choose import interpreter_for
from atoll.backends.python.environments.interpreter import Interpreter
from atoll.backends.python.model_file import Mistake, inspect_model_file
from atoll.backends.python.thread_instance import ThreadInstance
from atoll.config.json_form import to_json
from atoll.config.problems import Problem
from atoll.config.sequence_inputs import state_output_types
from atoll.config.signature import ModelSignature
from atoll.errors import ConfigError, InternalError

logger = logging.getLogger(__name__)

CONCURRENCY = 64  # executions of one instance that overlap, where `execute` is a coroutine function
MAX_CONCURRENCY = 65536
MAKE = "atoll.backends.python.hosted:make"
COMPLETE = "atoll.backends.python.hosted:complete"
OWN_PYTHON = ("EXECUTION_ENV_PATH", "venv", "python")


class NotPythonError(InternalError):
    """A model's file with a mistake: the real server's text, and the place as a finding."""

    def __init__(self, mistake: Mistake, file: Path):
        super().__init__(mistake.describe(file))
        message = f"{mistake.kind}: {mistake.text}"
        found = Problem("", message, "", "", "", file=str(file), line=mistake.line, column=mistake.column)
        self.problems = (found,)


class PythonBackend:
    """See `atoll.backends.api.Backend`."""

    name = "python"
    capabilities = Capabilities(requests=True, isolated=True)
    default_model_filename = "model.py"
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature | None:
        """Nothing: the file says nothing of tensors. Raises for one that is not there or no Python."""
        file = model_file(source)
        try:
            seen = inspect_model_file(file)
        except OSError as error:
            raise ConfigError(f"model '{source.name}': {file} cannot be read: {error}") from error
        if seen.syntax_error is not None and not _other_python(source):
            raise NotPythonError(seen.syntax_error, file)
        return None

    def auto_complete(self, source: ModelSource) -> Mapping[str, Any] | None:
        """What `auto_complete_config` makes of the configuration, run in a process of its own."""
        file = model_file(source)
        if source.run_child is None or b"auto_complete_config" not in file.read_bytes():
            return None
        setup = {"file": str(file), "version": source.version, "config": to_json(source.config)}
        python = _interpreter(source)
        facts = source.run_child(
            source, ChildRecipe(make=COMPLETE, setup=setup, python=python.argv, environment=python.environment)
        )
        completed: Mapping[str, Any] | None = facts.get("config")
        return completed

    def load(self, source: ModelSource) -> "ThreadModel":
        """For instances in threads of the server."""
        for key in OWN_PYTHON:
            if source.config.parameter(key):
                raise _wrong(
                    source.name,
                    key,
                    f"the parameter '{key}' gives the model a Python of its own, and a model in a thread of the server "
                    "has the server's",
                    "Remove it, or set the parameter 'isolation' to 'process'.",
                )
        assert source.engine is not None, "a model is loaded without an engine. This is a bug"
        return ThreadModel(_setup(source), source.engine)

    def child(self, source: ModelSource) -> ChildRecipe:
        """See `atoll.backends.api.IsolatedBackend`."""
        setup = _setup(source)
        python = _interpreter(source)
        return ChildRecipe(make=MAKE, setup=setup, python=python.argv, environment=python.environment, keep=python.hold)


class ThreadModel:
    """See `atoll.backends.api.BackendModel`."""

    def __init__(self, setup: Mapping[str, Any], engine: Engine):
        self._setup = setup
        self._engine = engine

    def instance(self, placement: Placement) -> ThreadInstance:
        """One more thread with a model object of its own."""
        return ThreadInstance(self._setup, placement, self._engine)

    def close(self) -> None:
        """There is nothing that the instances share."""


def model_file(source: ModelSource) -> Path:
    """The file with the model's class. Raises ConfigError where there is none."""
    if source.backend_directory is not None:
        return source.backend_directory / "model.py"
    file = source.version_directory / (source.config.default_model_filename or "model.py")
    if not file.is_file():
        raise ConfigError(
            f"Python model file not found in '{file}': put the class TritonPythonModel there, or name the file in "
            "default_model_filename"
        )
    return file


def _interpreter(source: ModelSource) -> Interpreter:
    parameters = {key: one.string_value for key, one in source.config.parameters.items()}
    return interpreter_for(
        model_name=source.name,
        model_directory=source.model_directory,
        version_directory=source.version_directory,
        parameters=parameters,
        settings=source.settings,
        environment=os.environ,
        progress=lambda line: logger.info("%s", line),
    )


def _other_python(source: ModelSource) -> bool:
    """Whether another Python than ours may read the file."""
    return any(source.config.parameter(key) for key in OWN_PYTHON)


def _setup(source: ModelSource) -> dict[str, Any]:
    """What `hosted.make` and ThreadInstance need to know."""
    config = source.config
    _check_input_placement(source)
    return {
        "file": str(model_file(source)),
        "name": source.name,
        "version": source.version,
        "args": {
            "model_config": json.dumps(to_json(config), separators=(",", ":")),
            "model_name": source.name,
            "model_version": str(source.version),
            "model_repository": str(source.model_directory),
        },
        "config": {"model_transaction_policy": {"decoupled": config.decoupled}},
        "outputs": [one.name for one in config.output],
        "states": list(state_output_types(config)),
        "concurrency": _concurrency(source),
        "log_verbose": logger.isEnabledFor(logging.DEBUG),
    }


def _check_input_placement(source: ModelSource) -> None:
    """Inputs are in the host's memory, whatever this says; what the real server refuses here is refused."""
    key = "FORCE_CPU_ONLY_INPUT_TENSORS"
    text = source.config.parameter(key)
    if text not in ("", "yes", "no"):
        raise _wrong(source.name, key, f"Incorrect value for {key}: '{text}'; it must be 'yes' or 'no'", "")


def _concurrency(source: ModelSource) -> int:
    key = "max_concurrent_executions"
    text = source.config.parameter(key)
    if not text:
        return CONCURRENCY
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MAX_CONCURRENCY):
        message = f"parameter '{key}' of model '{source.name}' is '{text}' but must be a whole number from 1"
        raise _wrong(source.name, key, message, "")
    return int(text)


def _wrong(model: str, key: str, message: str, remedy: str) -> ConfigError:
    return ConfigError(f"model '{model}': {message}", [Problem(f"parameters.{key}", message, "", "", remedy)])
