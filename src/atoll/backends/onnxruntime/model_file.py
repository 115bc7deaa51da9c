"""Where a version's ONNX file is, and what is wrong with one that ONNX Runtime does not take."""

import re
from pathlib import Path

from atoll.backends.api import ModelSource
from atoll.backends.error_text import bounded_text
from atoll.backends.model_kind import wrong_kind
from atoll.backends.model_path import model_path
from atoll.errors import AtollError, ConfigError, InternalError

DEFAULT_MODEL_FILENAME = "model.onnx"

_ORT_ERROR = re.compile(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", re.DOTALL)
_PROTOBUF_LIMIT = 2**31
_NO_OPERATOR = ("is not a registered function/op", "No Op registered for", "No opset import for domain")
_TOO_NEW = ("Unsupported model IR version", "is under development and support for this is limited")
ONLY_ELSEWHERE = "Could not find an implementation for"


def find_model_file(source: ModelSource) -> Path:
    """The version's ONNX file: what `default_model_filename` names, or "model.onnx".

    A directory of that name holds the file under the name "model.onnx", beside the files of its external data, as in
    Triton. Raises ConfigError where there is none.
    """
    path = model_path(source, DEFAULT_MODEL_FILENAME, is_model=lambda path: _inside(path).is_file())
    return _inside(path)


def _inside(path: Path) -> Path:
    return path / DEFAULT_MODEL_FILENAME if path.is_dir() else path


def error_text(error: BaseException) -> str:
    """An exception of ONNX Runtime in the real server's words: "onnx runtime error 2: ..."."""
    text = bounded_text(error)
    found = _ORT_ERROR.fullmatch(text)
    # Not every exception of the Python binding has a number; 1 is ORT_FAIL.
    return f"onnx runtime error {found[1]}: {found[2]}" if found else f"onnx runtime error 1: {text}"


def execution_error(error: Exception) -> AtollError:
    """What a request gets whose batch failed inside ONNX Runtime."""
    return error if isinstance(error, AtollError) else InternalError(error_text(error))


def load_error(source: ModelSource, path: Path, error: Exception) -> AtollError:
    """Why `path` could not be loaded, and what to do about it."""
    return ConfigError(f"failed to load model '{source.name}' from '{path}': {error_text(error)}{_advice(path, error)}")


def _advice(path: Path, error: Exception) -> str:
    known = wrong_kind(path, "onnxruntime")
    if known:
        return known
    text = str(error)
    size = path.stat().st_size
    if size >= _PROTOBUF_LIMIT:
        return f"; the file has {size} bytes and one ONNX file cannot exceed 2 GiB: export it with external data"
    if "INVALID_PROTOBUF" in text or "No graph was found" in text:
        return (
            f"; its {size} bytes are not a whole ONNX model: it is cut off or of another kind, export or copy it again"
        )
    if any(one in text for one in _TOO_NEW):
        return (
            "; the model is newer than the installed ONNX Runtime: upgrade that, or export the model with an older "
            "opset or IR version"
        )
    if ONLY_ELSEWHERE in text:
        return (
            "; the devices that the model is on do not have this operator, for its types and opset: it may need a GPU "
            "(kind: KIND_GPU in its instance_group, and a package of ONNX Runtime that uses GPUs)"
        )
    if any(one in text for one in _NO_OPERATOR):
        return (
            "; if the operator is one of your own, name the library that has it in "
            'model_operations { op_library_filename: "..." }; if it is ONNX\'s, this version of ONNX Runtime lacks it: '
            "export the model with an older opset, or upgrade onnxruntime"
        )
    return ""
