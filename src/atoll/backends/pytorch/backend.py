"""The backend "pytorch": finds a model's file, tells its form, and loads it."""

import logging
from enum import Enum
from pathlib import Path
from typing import Any

from atoll.backends.api import BackendModel, Capabilities, GpuSupport, ModelSource
from atoll.backends.model_kind import AOTI, PT2, STATE_DICT, kind_of
from atoll.backends.model_path import model_path, operation_libraries
from atoll.backends.pytorch import aot_inductor, eager, exported, torchscript
from atoll.backends.pytorch.devices import first_device, largest_group
from atoll.backends.pytorch.errors import load_error
from atoll.backends.pytorch.model import TorchModel
from atoll.backends.pytorch.program import Program
from atoll.backends.pytorch.runtime import import_torch
from atoll.backends.pytorch.settings import ModelSettings, model_settings
from atoll.backends.pytorch.signatures import declared_signature, signature_under
from atoll.backends.pytorch.threads import DEFAULT, ProcessSettings
from atoll.config.signature import ModelSignature
from atoll.errors import ConfigError

logger = logging.getLogger(__name__)

_SUFFIXES = (".pt", ".pt2", ".pth", ".ts")


class Form(Enum):
    """What a model's file is."""

    TORCHSCRIPT = "TorchScript"
    EXPORTED = "torch.export"
    AOT_INDUCTOR = "AOTInductor"
    EAGER = "model.py"


class PyTorchBackend:
    """Serves TorchScript, files of torch.export, packages of AOTInductor, and classes in a model.py."""

    name = "pytorch"
    capabilities = Capabilities(bounded=True)
    default_model_filename = "model.pt"
    default_instance_count = 1
    runs_model_code = True  # `runtime: "model.py"`

    def __init__(self) -> None:
        """Imports nothing yet."""
        self._process = ProcessSettings()

    def signature(self, source: ModelSource) -> ModelSignature | None:
        """What the file says, under the configuration's names where the file's are other ones; None of a model.py.

        Raises ConfigError naming the file and the cause where it cannot be read, or where the names do not fit.
        """
        form, path = _find(source)
        if form is Form.EAGER:
            return None
        if form is Form.EXPORTED:
            facts = exported.facts_of(source.name, path)
            return signature_under(source.config, source.name, facts.forward, facts.signature)
        torch = import_torch()
        _load_operations(torch, source)
        if form is Form.AOT_INDUCTOR:
            forward, found = aot_inductor.signature_of(torch, source.name, path)
            return signature_under(source.config, source.name, forward, found)
        forward = torchscript.declared(torch, source.name, path)
        return signature_under(source.config, source.name, forward, declared_signature(forward))

    def load(self, source: ModelSource) -> BackendModel:
        """Load it. Raises ConfigError naming the file, or the parameter and what it may be."""
        form, path = _find(source)
        settings = model_settings(source)
        torch = import_torch()
        DEFAULT.count(torch)
        _load_operations(torch, source)
        self._process.apply(torch, source.name, settings)
        program = _program(torch, source, form, path, settings)
        try:
            return TorchModel(torch, source, program, settings)
        except BaseException:
            program.modules.close()
            program.close()
            raise

    def gpu_support(self, source: ModelSource, gpus: tuple[int, ...]) -> GpuSupport:
        """All that PyTorch sees, where its build has CUDA."""
        torch = import_torch()
        if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
            return GpuSupport(
                missing=f"PyTorch {torch.__version__} is a build for the CPU: install one with CUDA, for example with: "
                "pip install torch --index-url https://download.pytorch.org/whl/cu126"
            )
        seen = torch.cuda.device_count()
        usable = tuple(gpu for gpu in gpus if gpu < seen)
        missing = "" if len(usable) == len(gpus) else f"PyTorch {torch.__version__} sees {seen} of the GPUs"
        return GpuSupport(usable, missing)


def _find(source: ModelSource) -> tuple[Form, Path]:
    """The model's file and its form, told from its content, whatever its name is."""
    if source.config.runtime.endswith(".py"):
        code = source.version_directory / (source.config.default_model_filename or source.config.runtime)
        weights = source.version_directory / eager.WEIGHTS
        if code.is_file() and code.suffix == ".py":
            return Form.EAGER, code
        if not weights.is_file():
            raise ConfigError(
                f"unable to find '{code}' for model '{source.name}'; put the class there that inherits from "
                "torch.nn.Module, or leave runtime out of config.pbtxt"
            )
        return Form.TORCHSCRIPT, weights
    try:
        path = model_path(source, "model.pt", suffixes=_SUFFIXES)
    except ConfigError as error:
        raise ConfigError(f"{error}{_class_beside(source)}") from error
    if path.suffix == ".py":
        return Form.EAGER, path
    kind = kind_of(path)
    if kind == STATE_DICT and (hint := _class_beside(source)):
        raise ConfigError(f"failed to load model '{source.name}' from '{path}': it holds weights alone{hint}")
    if kind == PT2:
        return Form.EXPORTED, path
    return (Form.AOT_INDUCTOR if kind == AOTI else Form.TORCHSCRIPT), path


def _class_beside(source: ModelSource) -> str:
    """What to do where there is a class, and the configuration does not say that it is the model."""
    if not (source.version_directory / "model.py").is_file():
        return ""
    return '; model.py is there: to serve its class, put runtime: "model.py" into config.pbtxt'


def _program(torch: Any, source: ModelSource, form: Form, path: Path, settings: ModelSettings) -> Program:
    device = first_device(source.config)
    if form is Form.EAGER:
        return eager.load(torch, source.name, path, source.version, settings, device)
    if form is Form.EXPORTED:
        return exported.load(torch, source.name, path, settings, device)
    if form is Form.AOT_INDUCTOR:
        return aot_inductor.load(torch, source.name, path, settings, device, largest_group(source.config))
    return torchscript.load(torch, source.name, path, settings, device)


def _load_operations(torch: Any, source: ModelSource) -> None:
    """The libraries of operators that the configuration names. PyTorch keeps them for good."""
    for path in operation_libraries(source):
        try:
            torch.ops.load_library(str(path))
        except Exception as error:
            raise load_error(source.name, path, error) from error
