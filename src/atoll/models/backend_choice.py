"""Which backend runs a model: an installed one, a python-based one, or the one that comes with a model in memory."""

from dataclasses import replace

from atoll.backends.api import Backend, RunsModelCode
from atoll.backends.registry import (
    PYTHON_RUNTIME,
    backend_names,
    find_backend,
    python_based_folder,
    python_based_names,
)
from atoll.config.model_config import ModelConfig
from atoll.config.platforms import backend_of
from atoll.config.problems import Problem, config_error, suggestion
from atoll.errors import NotFoundError

PYTHON = "python"  # the backend that runs a python-based backend's code


def choose_backend(config: ModelConfig, directory: str) -> tuple[Backend, ModelConfig]:
    """The backend of a configuration that names one, and the configuration with the `runtime` that it has.

    `directory` is that of the python-based backends. Raises ConfigError for a runtime that is not there, NotFoundError
    for a backend that is not, and what the backend's constructor raises.
    """
    name, runtime = config.backend, config.runtime
    installed = name in backend_names()
    if not runtime and not installed and python_based_folder(directory, name) is not None:
        runtime = PYTHON_RUNTIME
    if runtime == PYTHON_RUNTIME:
        if installed and python_based_folder(directory, name) is None:
            backend = find_backend(name)
            if isinstance(backend, RunsModelCode) and backend.runs_model_code:
                return backend, config
        if python_based_folder(directory, name) is None:
            raise config_error([_no_code(config, directory)], f"model '{config.name}'")
        return find_backend(PYTHON), replace(config, runtime=runtime)
    if not installed and python_based_folder(directory, name) is not None:
        raise config_error([_no_library(config)], f"model '{config.name}'")
    backend = find_backend(name)
    if runtime not in ("", f"libtriton_{name}.so"):
        raise config_error([_no_library(config)], f"model '{config.name}'")
    return backend, config


def no_backend(config: ModelConfig, directory: str, error: NotFoundError) -> Problem:
    """The backend that nobody offers, beside those that there are."""
    names = [*backend_names(), *python_based_names(directory)]
    platform = backend_of(ModelConfig(platform=config.backend))
    near = platform if platform in names else suggestion(config.backend, names)
    key = (
        "backend"
        if config.platform in ("", config.backend) or not backend_of(replace(config, backend=""))
        else "platform"
    )
    remedy = f"Did you mean '{near}'?" if near else "Install the package that offers it, or serve this model elsewhere."
    return Problem(key, str(error), "", "", remedy)


def _no_code(config: ModelConfig, directory: str) -> Problem:
    place = f"{directory.rstrip('/')}/{config.backend}/{PYTHON_RUNTIME}" if directory else ""
    message = (
        f"unable to find Python backend based backend library '{PYTHON_RUNTIME}' for model '{config.name}', "
        f"searched: '{place}'"
    )
    if config.backend == PYTHON:
        remedy = "Remove runtime: a model with its own model.py needs none."
    elif directory:
        remedy = f"Put the backend's {PYTHON_RUNTIME} there, or correct the backend's name."
    else:
        remedy = "Start with --backend-directory=DIR, where DIR/BACKEND/model.py is the backend's code."
    return Problem("runtime", message, "", "", remedy)


def _no_library(config: ModelConfig) -> Problem:
    message = f"unable to find backend library '{config.runtime}' for model '{config.name}'"
    expected = f"nothing, or '{PYTHON_RUNTIME}' for a python-based backend"
    return Problem("runtime", message, f"'{config.runtime}'", expected, "Remove it: shared libraries are not loaded.")
