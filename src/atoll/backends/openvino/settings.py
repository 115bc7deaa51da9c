"""What config.pbtxt and --backend-config say about a model, under the names that Triton's OpenVINO backend uses.

Besides those, any property of the device goes to OpenVINO under its own name. What is neither is left alone, as in
Triton; a key that looks like a misspelt property is worth a warning.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.model_path import named_file
from atoll.backends.openvino.errors import error_text
from atoll.backends.parameters import MAX_THREADS, Parameters
from atoll.config.problems import suggestion
from atoll.errors import ConfigError

logger = logging.getLogger(__name__)

_PROPERTY = re.compile(r"[A-Z][A-Z0-9_]*")
_OURS = (
    "TARGET_DEVICE",
    "CPU_EXTENSION_PATH",
    "HINT_BF16",
    "SKIP_OV_DYNAMIC_BATCHSIZE",
    "ENABLE_BATCH_PADDING",
    "RESHAPE_IO_LAYERS",
    "ENABLE_MMAP",
    "COMPILATION_NUM_THREADS",  # of devices that know it; Triton's users write it for others, too
)
# Of OpenVINO itself, which takes them for every device and lists them for none.
_OF_ANY_DEVICE = ("CACHE_DIR", "CACHE_MODE", "CPU_RUNTIME_CACHE_CAPACITY", "ALLOW_AUTO_BATCHING", "AUTO_BATCH_TIMEOUT")
_PRECISION = "INFERENCE_PRECISION_HINT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """How to read and to compile a model. `properties` are OpenVINO's, by name.

    `dynamic_batch`: a model whose batch is fixed at 1 is given one of any size. `padding`: it is compiled for batches
    of `max_batch_size`, to which smaller ones are filled up. `reshape`: its inputs get the configuration's dims.
    """

    device: str = "CPU"
    extension: str = ""
    dynamic_batch: bool = True
    padding: bool = False
    reshape: bool = False
    mapped: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)


def model_settings(source: ModelSource) -> ModelSettings:
    """Read them from the model's configuration and the backend's settings. `properties` are not looked at yet.

    Raises ConfigError naming the key and the values that it may have.
    """
    said = Parameters(source)
    properties = {key: text for key, text in said.matching(_PROPERTY).items() if key not in _OURS and text}
    if said.switch("HINT_BF16"):
        if properties.get(_PRECISION, "bf16") != "bf16":
            raise said.wrong(_PRECISION, "left out or bf16 where HINT_BF16 is YES")
        properties[_PRECISION] = "bf16"
    padding = said.switch("ENABLE_BATCH_PADDING")
    if padding and source.config.max_batch_size == 0:
        raise said.wrong(
            "ENABLE_BATCH_PADDING", "left out where max_batch_size is 0: there is no batch to be filled up"
        )
    threads = said.number("COMPILATION_NUM_THREADS", MAX_THREADS)
    if threads:
        properties["COMPILATION_NUM_THREADS"] = str(threads)
    return ModelSettings(
        device=said.text("TARGET_DEVICE") or "CPU",
        extension=said.text("CPU_EXTENSION_PATH"),
        dynamic_batch=not said.switch("SKIP_OV_DYNAMIC_BATCHSIZE"),
        padding=padding,
        reshape=said.switch("RESHAPE_IO_LAYERS"),
        mapped=said.switch("ENABLE_MMAP"),
        properties=properties,
    )


def find_extension(source: ModelSource, settings: ModelSettings) -> Path | None:
    """The library of further operations that CPU_EXTENSION_PATH names: a path of its own, or one inside the version's
    or the model's folder. Raises ConfigError where there is none.
    """
    if not settings.extension:
        return None
    path = named_file(source, settings.extension)
    if path is not None:
        return path
    wanted = f"a file: it is neither in '{source.version_directory}' nor in '{source.model_directory}'"
    raise Parameters(source).wrong("CPU_EXTENSION_PATH", wanted)


def device_properties(core: Any, source: ModelSource, settings: ModelSettings) -> dict[str, str]:
    """Those of the properties that the device has.

    Raises ConfigError where there is no such device, and for a property that can only be read.
    """
    supported = _supported(core, source, settings.device)
    settable = {name for name, access in supported.items() if access != "RO"} | set(_OF_ANY_DEVICE)
    chosen = {}
    for name, text in settings.properties.items():
        if name in settable:
            chosen[name] = text
        elif name in supported:
            wanted = f"left out: device {settings.device} only tells it; what can be set is {_listed(settable)}"
            raise Parameters(source).wrong(name, wanted)
        elif name != "COMPILATION_NUM_THREADS":
            near = suggestion(name, [*settable, *_OURS])
            meant = f"; did you mean {near}?" if near else ""
            text = "model '%s': parameter '%s' is no property of device %s and is left alone%s"
            logger.warning(text, source.name, name, settings.device, meant)
    return chosen


def property_error(core: Any, source: ModelSource, settings: ModelSettings, error: Exception) -> ConfigError | None:
    """What OpenVINO says against one of the properties; None where the error is about something else."""
    text = error_text(error)
    for name in settings.properties:
        if re.search(rf"\b{name}\b", text) or (name == "NUM_STREAMS" and "number of streams" in text):
            wrong = Parameters(source).wrong(name, f"what OpenVINO takes: {text}")
            supported = _supported(core, source, settings.device)
            settable = [one for one, access in supported.items() if access != "RO"]
            return ConfigError(f"{wrong}. Properties of device {settings.device}: {_listed(settable)}", wrong.problems)
    return None


def _supported(core: Any, source: ModelSource, device: str) -> dict[str, str]:
    plugin = device.partition(":")[0]  # of "AUTO:GPU,CPU" the part that chooses among the others
    try:
        found = core.get_property(plugin, "SUPPORTED_PROPERTIES")
        return {str(name): str(access) for name, access in found.items()}
    except Exception as error:
        there = ", ".join(core.available_devices)
        wanted = f"a device that is here ({there}), or AUTO, MULTI or HETERO with such ones: {error_text(error)}"
        raise Parameters(source).wrong("TARGET_DEVICE", wanted) from error


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
