"""Reads a model's file, or says what is wrong with it.

OpenVINO tries every format that it knows on a file, and one of them complains on the standard error output about each
that it does not understand. So the file's name decides which is tried.
"""

import re
from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.model_kind import kind_of
from atoll.backends.model_path import model_path
from atoll.backends.openvino.errors import error_text, load_error
from atoll.backends.openvino.runtime import OpenVino

DEFAULT_MODEL_FILENAME = "model.xml"

# By the end of a file's name, OpenVINO's name of the format, and how the file is called in errors.
_FORMATS = {
    ".xml": ("ir", "an OpenVINO IR (.xml)"),
    ".onnx": ("onnx", "an ONNX model"),
    ".tflite": ("tflite", "a TensorFlow Lite model"),
    ".pb": ("tf", "a frozen TensorFlow graph"),
    ".pdmodel": ("paddle", "a PaddlePaddle model"),
}
_FOLDER = ("tf", "a TensorFlow SavedModel")
_START = 4096
_VERSION = re.compile(rb"<net\b[^>]*\bversion=\"(\d+)\"")
_KNOWN_VERSIONS = (b"10", b"11")


def find_model_file(source: ModelSource) -> Path:
    """Raises ConfigError where there is none."""
    return model_path(source, DEFAULT_MODEL_FILENAME, is_model=Path.exists, suffixes=tuple(_FORMATS))


def read_model(openvino: OpenVino, core: Any, source: ModelSource, path: Path, mapped: bool) -> Any:
    """The file as an openvino.Model. With `mapped`, weights stay in their file and are read when they are needed.

    Raises ConfigError naming the file and the cause.
    """
    frontend, kind = _format_of(source, path)
    try:
        frontends = openvino.module.frontend.FrontEndManager()
        readable = frontends.load_by_framework(frontend).supported(str(path))
    except Exception as error:
        raise load_error(source, path, error_text(error)) from error
    if not readable:
        raise load_error(source, path, f"it is not {kind}", _advice(path, openvino))
    try:
        return core.read_model(str(path), config={"ENABLE_MMAP": mapped})
    except Exception as error:
        raise load_error(source, path, error_text(error), _advice(path, openvino)) from error


def _format_of(source: ModelSource, path: Path) -> tuple[str, str]:
    if path.is_dir():
        return _FOLDER
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        advice = f"OpenVINO tells formats by the end of a file's name, which can be {', '.join(_FORMATS)}"
        raise load_error(source, path, "it is not known what the file is", advice)
    return found


def _advice(path: Path, openvino: OpenVino) -> str:
    if path.is_dir() or path.suffix.lower() != ".xml":
        return "it may be cut off or damaged: export or copy it again"
    with path.open("rb") as file:
        start = file.read(_START)
    version = _VERSION.search(start)
    if version is not None and version[1] not in _KNOWN_VERSIONS:
        return (
            f"it is of IR version {version[1].decode()}, and OpenVINO {openvino.version} reads versions 10 and 11: "
            "upgrade OpenVINO, or export the model again"
        )
    kind = kind_of(path)
    if kind is None or kind.backend != "openvino":
        return "it may be cut off or damaged: export or copy it again"
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        return f"'{weights.name}', which holds the weights, is not beside it: copy both files"
    if b"</net>" not in _end(path):
        return "it is cut off: export or copy it again"
    return f"'{weights.name}' beside it has {weights.stat().st_size} bytes: it must be whole, and of the same export"


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _START, 0))
        return file.read()
