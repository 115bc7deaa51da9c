"""Reads a model's file, or says what is wrong with it.

OpenVINO tries every format that it knows on a file, and one of them complains on the standard error output about each
that it does not understand. So the file's name decides which is tried.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.model_kind import EMPTY, ONNX, OPENVINO_IR, SAVED_MODEL, TFLITE, ModelKind, kind_of
from atoll.backends.model_path import model_path
from atoll.backends.openvino.errors import error_text, load_error
from atoll.backends.openvino.runtime import OpenVino

DEFAULT_MODEL_FILENAME = "model.xml"


@dataclass(frozen=True, slots=True)
class _Format:
    """`frontend`: OpenVINO's name of it. `text`: how such a file is called in errors. `kind`: what its first bytes
    tell, where they tell anything.
    """

    frontend: str
    text: str
    kind: ModelKind | None = None


_FORMATS = {
    ".xml": _Format("ir", "an OpenVINO IR (.xml)", OPENVINO_IR),
    ".onnx": _Format("onnx", "an ONNX model", ONNX),
    ".tflite": _Format("tflite", "a TensorFlow Lite model", TFLITE),
    ".pb": _Format("tf", "a frozen TensorFlow graph"),
    ".pdmodel": _Format("paddle", "a PaddlePaddle model"),
}
_FOLDER = _Format("tf", "a TensorFlow SavedModel", SAVED_MODEL)
_START = 4096
_VERSION = re.compile(rb"<net\b[^>]*\bversion=\"(\d+)\"")
_OPERATION = re.compile(r"doesn't contain the operation|unsupported opset|No conversion rule|not support.* operation")
_KNOWN_VERSIONS = (b"10", b"11")


def find_model_file(source: ModelSource) -> Path:
    """Raises ConfigError where there is none."""
    return model_path(source, DEFAULT_MODEL_FILENAME, is_model=Path.exists, suffixes=tuple(_FORMATS))


def read_model(openvino: OpenVino, core: Any, source: ModelSource, path: Path, mapped: bool) -> Any:
    """The file as an openvino.Model. With `mapped`, weights stay in their file and are read when they are needed.

    Raises ConfigError naming the file and the cause.
    """
    form = _format_of(source, path)
    kind = kind_of(path)
    wrong = kind is not None and kind is not form.kind
    if kind is EMPTY or (form is _FOLDER and kind is None) or not _is_readable(openvino, path, form):
        raise load_error(source, path, f"it is not {form.text}", "" if wrong else _advice(path, openvino), wrong)
    try:
        return core.read_model(str(path), config={"ENABLE_MMAP": mapped})
    except Exception as error:
        text = error_text(error)
        raise load_error(source, path, text, _advice(path, openvino, text), wrong) from error


def _is_readable(openvino: OpenVino, path: Path, form: _Format) -> bool:
    frontends = openvino.module.frontend.FrontEndManager()
    try:
        return bool(frontends.load_by_framework(form.frontend).supported(str(path)))
    except Exception:  # not even the beginning can be read
        return False


def _format_of(source: ModelSource, path: Path) -> _Format:
    if path.is_dir():
        return _FOLDER
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        advice = f"OpenVINO tells formats by the end of a file's name, which can be {', '.join(_FORMATS)}"
        raise load_error(source, path, "it is not known what the file is", advice, kind_of(path) is not None)
    return found


def _advice(path: Path, openvino: OpenVino, text: str = "") -> str:
    """What to do about a file of the right kind. `text`: what OpenVINO says of it, if it got so far."""
    if _OPERATION.search(text):
        return (
            f"OpenVINO {openvino.version} does not have that operation: upgrade it, or name a library that has it with "
            "the parameter CPU_EXTENSION_PATH"
        )
    damaged = "it may be cut off or damaged: export or copy it again"
    if path.is_dir() or path.suffix.lower() != ".xml":
        return damaged
    with path.open("rb") as file:
        start = file.read(_START)
    version = _VERSION.search(start)
    if version is not None and version[1] not in _KNOWN_VERSIONS:
        return (
            f"it is of IR version {version[1].decode()}, and OpenVINO {openvino.version} reads versions 10 and 11: "
            "upgrade OpenVINO, or export the model again"
        )
    if kind_of(path) is not OPENVINO_IR:
        return damaged
    if b"</net>" not in _end(path):
        return "it is cut off: export or copy it again"
    if "weights" not in text:
        return ""
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        return f"'{weights.name}', which holds the weights, is not beside it: copy both files"
    return f"'{weights.name}' beside it has {weights.stat().st_size} bytes: it must be whole, and of the same export"


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _START, 0))
        return file.read()
