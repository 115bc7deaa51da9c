"""A loaded model: its sessions, one for each device, which all instances there share.

See docs/decisions/004-onnxruntime-sessions.md. It holds on a GPU, too: a session may be run from several threads at
once there. Therefore no stream is handed in (`user_compute_stream`): ONNX Runtime takes one for each run, and a stream
of ours would be one for all instances.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource, Placement
from atoll.backends.onnxruntime.instance import ConvertingInstance, OnnxInstance, Tensors
from atoll.backends.onnxruntime.providers import NoProviderError
from atoll.backends.onnxruntime.sessions import FATAL
from atoll.backends.onnxruntime.settings import SessionSettings
from atoll.backends.onnxruntime.signature import signature_of
from atoll.backends.onnxruntime.types import data_type_of
from atoll.config.model_config import ModelConfig, ModelInstanceGroup
from atoll.errors import ConfigError
from atoll.tensor import DataType

Device = int | None
"""A GPU's number; None is the CPU."""


class OnnxModel:
    """Made with the sessions of the devices that the configuration names. `make` makes one, `closed` is told of each
    that is gone.
    """

    def __init__(
        self,
        onnxruntime: Any,
        source: ModelSource,
        path: Path,
        settings: SessionSettings,
        make: Callable[[Device], Any],
        closed: Callable[[], None],
    ):
        """Raises ConfigError where a session cannot be made."""
        self._onnxruntime = onnxruntime
        self._settings = settings
        self._make = make
        self._closed = closed
        self._sessions: dict[Device, Any] = {}
        try:
            for device in devices_of(source.config):
                self._sessions[device] = self._made(device, f"model '{source.name}'")
            session = next(iter(self._sessions.values()))
            self.signature = signature_of(session, path)
            self._inputs = _tensors(session.get_inputs())
            self._outputs = _tensors(session.get_outputs())
            _refuse_strings_into_bf16(source.name, self._inputs, self._outputs)
        except BaseException:
            self.close()
            raise
        # Others compile what they have not met before, which takes from seconds to minutes, or wait for their device.
        self.bounded = all(one.get_providers() == ["CPUExecutionProvider"] for one in self._sessions.values())
        used = {*self._inputs.values(), *self._outputs.values()}
        self._converting = not used.isdisjoint((DataType.BYTES, DataType.BF16))

    def instance(self, placement: Placement) -> OnnxInstance:
        """A context there. Raises ConfigError where ONNX Runtime cannot have it on that device."""
        device = placement.device_id if placement.kind == "KIND_GPU" else None
        if device not in self._sessions:
            self._sessions[device] = self._made(device, f"instance '{placement.name}'")
        session = self._sessions[device]
        run_options = self._run_options(device)
        if self._converting:
            return ConvertingInstance(self._onnxruntime, session, run_options, self._inputs, self._outputs)
        return OnnxInstance(self._onnxruntime, session, run_options)

    def close(self) -> None:
        """Free the sessions, and with them the weights and the threads."""
        while self._sessions:
            self._sessions.popitem()
            self._closed()

    def _made(self, device: Device, who: str) -> Any:
        try:
            return self._make(device)
        except NoProviderError as error:
            if device is None:
                text = f"{who}: {error}; or remove it from optimization.execution_accelerators in config.pbtxt"
            else:
                text = f"{who} cannot be on GPU {device}: {error}; or use kind: KIND_CPU in its instance_group"
            raise ConfigError(text) from error

    def _run_options(self, device: Device) -> Any:
        options = self._onnxruntime.RunOptions()
        # A failing run raises what it would also print, and a client could otherwise fill the log.
        options.log_severity_level = FATAL
        shrinking = self._settings.shrinking(device)
        if shrinking:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", shrinking)
        return options


def devices_of(config: ModelConfig) -> list[Device]:
    """Those that instances are to be on: the CPU alone where the configuration names none."""
    found: dict[Device, None] = {}
    for group in config.instance_group:
        if group.kind is ModelInstanceGroup.Kind.KIND_GPU:
            found |= dict.fromkeys(group.gpus)
        else:
            found[None] = None
    return list(found) or [None]


def _tensors(arguments: Any) -> Tensors:
    found = ((one.name, data_type_of(one.type)) for one in arguments)
    return {name: datatype for name, datatype in found if datatype is not None}


def _refuse_strings_into_bf16(model: str, inputs: Tensors, outputs: Tensors) -> None:
    # BF16 comes out of bindings alone, and the Python interface cannot bind strings to an input.
    strings = [name for name, one in inputs.items() if one is DataType.BYTES]
    bf16 = [name for name, one in outputs.items() if one is DataType.BF16]
    if strings and bf16:
        raise ConfigError(
            f"model '{model}': input '{strings[0]}' is of strings and output '{bf16[0]}' is BF16, which ONNX "
            "Runtime's Python interface cannot do in one model; cast the output to FP32 inside the model"
        )
