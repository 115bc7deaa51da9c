"""Modules of Python code: a class in the version's model.py, with weights beside it: Triton's `runtime: "model.py"`."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from atoll.backends.python.module_loading import load_module, unload_module
from atoll.backends.pytorch.calls import of_module
from atoll.backends.pytorch.compilation import compiled
from atoll.backends.pytorch.devices import ANYWHERE, CPU, Modules
from atoll.backends.pytorch.errors import load_error
from atoll.backends.pytorch.names import Forward, listed
from atoll.backends.pytorch.program import Program
from atoll.backends.pytorch.settings import ModelSettings
from atoll.errors import AtollError, ConfigError

WEIGHTS = "model.pt"


def load(torch: Any, model: str, path: Path, version: int, settings: ModelSettings, device: str) -> Program:
    """The class in that file, with a module on that device. Raises ConfigError naming the file and the cause."""
    try:
        code = load_module(path, version=version, own_process=False)
    except AtollError:
        raise
    except Exception as error:
        raise load_error(model, path, f"{type(error).__name__}: {error}") from error
    try:
        return _program(torch, model, path, code, settings, device)
    except BaseException:
        unload_module(code)
        raise


def _program(torch: Any, model: str, path: Path, code: ModuleType, settings: ModelSettings, device: str) -> Program:
    kind = _module_class(torch, model, path, code, settings)
    weights = path.parent / WEIGHTS
    parameters: dict[str, dict[str, Any]] = {}  # by device; what no inference changes, all instances there can share

    def make(where: str) -> Any:
        module = _made(torch, model, path, kind, weights, where, settings)
        if settings.share_weights is None:
            _share_parameters(module, parameters.setdefault(where, {}))
        return compiled(torch, module, settings)

    modules = Modules(make, shared=bool(settings.share_weights))
    first = make(device)
    modules.keep(device, first)
    forward = _forward(getattr(first, "_orig_mod", first))

    def close() -> None:
        parameters.clear()
        unload_module(code)

    return Program(
        forward=forward,
        modules=modules,
        call=lambda module, bound: of_module(module, forward, bound),
        copies_inputs=True,  # its code may write there in any execution, and PyTorch does not note all ways to do so
        watches_inputs=False,
        copies_outputs=True,
        native=False,
        close=close,
    )


def _module_class(torch: Any, model: str, path: Path, code: ModuleType, settings: ModelSettings) -> Any:
    found = {
        name: one
        for name, one in vars(code).items()
        if isinstance(one, type) and issubclass(one, torch.nn.Module) and one.__module__ == code.__name__
    }
    wanted = settings.module_class
    if wanted:
        if wanted in found:
            return found[wanted]
        raise load_error(
            model, path, f"parameter 'MODULE_CLASS' is '{wanted}', but its classes that inherit from torch.nn.Module "
            f"are: {listed(list(found))}"
        )  # fmt: skip
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise load_error(model, path, "it has no class that inherits from torch.nn.Module; the model must be one")
    raise load_error(
        model, path, f"it has {len(found)} classes that inherit from torch.nn.Module ({listed(list(found))}): say "
        "which is the model with the parameter 'MODULE_CLASS'"
    )  # fmt: skip


def _made(torch: Any, model: str, path: Path, kind: Any, weights: Path, device: str, settings: ModelSettings) -> Any:
    try:
        module = kind()
    except Exception as error:
        text = f"{kind.__name__}() failed: {type(error).__name__}: {error}; it is made without arguments"
        raise load_error(model, path, text) from error
    if weights.is_file():
        state = _weights(torch, model, weights, device, settings)
        try:
            module.load_state_dict(state)
        except Exception as error:
            text = f"its weights do not fit class {kind.__name__} of {path.name}: {error}"
            raise load_error(model, weights, text) from error
    if device != ANYWHERE:
        module = module.to(device)
    return module.eval()


def _weights(torch: Any, model: str, weights: Path, device: str, settings: ModelSettings) -> Mapping[str, Any]:
    try:
        state = torch.load(weights, map_location=device or CPU, weights_only=not settings.allow_pickle, mmap=False)
    except Exception as error:
        if "weights_only" not in str(error) and "Weights only" not in str(error):
            raise load_error(model, weights, error) from error
        reason = str(error).strip().split("\n")[-1][:200]
        raise ConfigError(
            f"failed to load model '{model}' from '{weights}': it is a pickle of more than tensors, which may run any "
            f"code when it is read; save the weights alone, torch.save(module.state_dict(), '{WEIGHTS}'), or, if you "
            "trust who made it, start the server with --backend-config=pytorch,allow-pickle=true "
            f"({reason})"
        ) from error
    state = state.state_dict() if isinstance(state, torch.nn.Module) else state
    if not isinstance(state, Mapping):
        raise load_error(
            model, weights, f"it holds a {type(state).__name__}, where a state dict is expected: "
            f"torch.save(module.state_dict(), '{WEIGHTS}')"
        )  # fmt: skip
    return state


def _share_parameters(module: Any, shared: dict[str, Any]) -> None:
    """Make the module use the parameters that another of its class has; the first one's are kept."""
    for name, parameter in module.named_parameters():
        owner, _, attribute = name.rpartition(".")
        kept = shared.setdefault(name, parameter)
        setattr(module.get_submodule(owner), attribute, kept)


def _forward(module: Any) -> Forward:
    """What the signature of its forward says."""
    try:
        given = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return Forward()
    if any(one.kind is one.VAR_POSITIONAL for one in given):
        return Forward()
    named = [one for one in given if one.kind is not one.VAR_KEYWORD]
    if len(named) == 1 and _is_dict(named[0].annotation):
        return Forward(arguments=(named[0].name,), keyed=True)
    optional = frozenset(one.name for one in named if one.default is not one.empty)
    keyword_only = frozenset(one.name for one in named if one.kind is one.KEYWORD_ONLY)
    arguments = tuple(one.name for one in named)
    return Forward(arguments=arguments, optional=optional, keyword_only=keyword_only, typed=False)


def _is_dict(annotation: Any) -> bool:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") or str(annotation)
    return text.removeprefix("typing.").lower().startswith(("dict", "mapping"))
