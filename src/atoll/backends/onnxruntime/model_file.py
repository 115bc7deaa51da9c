"""Where a version's ONNX file is, and what is wrong with one that ONNX Runtime does not take."""

import re
from contextlib import suppress
from itertools import islice
from pathlib import Path

from atoll.backends.api import ModelSource
from atoll.errors import AtollError, ConfigError, InternalError

DEFAULT_MODEL_FILENAME = "model.onnx"

_ORT_ERROR = re.compile(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", re.DOTALL)
_PROTOBUF_LIMIT = 2**31


def find_model_file(source: ModelSource) -> Path:
    """The version's ONNX file: what `default_model_filename` names, or "model.onnx".

    A directory of that name holds the file under the name "model.onnx", beside the files of its external data, as in
    Triton. Raises ConfigError where there is none.
    """
    path = source.version_directory / (source.config.default_model_filename or DEFAULT_MODEL_FILENAME)
    if path.is_dir():
        path = path / DEFAULT_MODEL_FILENAME
    if not path.is_file():
        message = f"unable to find '{path}' for model '{source.name}'"
        others = _onnx_files(source.version_directory)
        if others:
            remedy = f'rename it to {path.name}, or set default_model_filename: "{others[0]}" in config.pbtxt'
            raise ConfigError(f"{message}; found {', '.join(others)} there: {remedy}")
        raise ConfigError(f"{message}; put the ONNX file there, or name it with default_model_filename in config.pbtxt")
    return path


def _onnx_files(directory: Path) -> list[str]:
    """Names of a few ONNX files in the version's directory, which the user may have meant."""
    with suppress(OSError):
        return sorted(islice((one.name for one in directory.iterdir() if one.suffix == ".onnx"), 3))
    return []


def error_text(error: BaseException) -> str:
    """An exception of ONNX Runtime in the real server's words: "onnx runtime error 2: ..."."""
    text = str(error).strip()
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
    with path.open("rb") as file:
        start = file.read(64)
    size = path.stat().st_size
    if not start:
        return "; the file is empty: export or copy it again"
    if start.startswith(b"version https://git-lfs"):
        return "; the file is a Git LFS pointer, not the model: run 'git lfs pull' in its repository"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "; the file is a web page, not a model: download it again"
    if start.startswith(b"PK\x03\x04"):
        return "; the file is a ZIP archive (PyTorch and Keras write such): export the model to ONNX"
    if size >= _PROTOBUF_LIMIT:
        return f"; the file has {size} bytes and one ONNX file cannot exceed 2 GiB: export it with external data"
    if "INVALID_PROTOBUF" in str(error) or "No graph was found" in str(error):
        return (
            f"; its {size} bytes are not a whole ONNX model: it is cut off or of another kind, export or copy it again"
        )
    return ""
