"""Of what kind a model's file or folder is, told from its first bytes: so that an error can say where it belongs.

Nothing is loaded or unpickled; a few kilobytes are read, and of an archive the list of what is in it.
"""

import os
import re
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_START = 4096
_NAMES = 1 << 16  # entries of an archive that are looked at: what tells its kind may stand behind all of its weights


@dataclass(frozen=True, slots=True)
class ModelKind:
    """`text` completes "the file is ...". `backend` runs such files; where none does, `advice` says what to do."""

    text: str
    backend: str = ""
    advice: str = ""


EMPTY = ModelKind("empty", advice="export or copy it again")
GIT_LFS = ModelKind("a Git LFS pointer, not the model", advice="run 'git lfs pull' in its repository")
WEB_PAGE = ModelKind("a web page, not a model", advice="download it again")
ONNX = ModelKind("an ONNX model", "onnxruntime")
TORCHSCRIPT = ModelKind("a TorchScript archive", "pytorch")
PT2 = ModelKind("an archive of torch.export", "pytorch")
AOTI = ModelKind("an AOTInductor package", "pytorch")
STATE_DICT = ModelKind(
    "an archive of torch.save",
    advice="weights alone are no model: export it with torch.jit.script, torch.export or torch.onnx",
)
KERAS = ModelKind(
    "a Keras archive", advice="save it with model.export(FOLDER) as a SavedModel, for the tensorflow backend"
)
HDF5 = ModelKind(
    "an HDF5 file, as older Keras saves", advice="load it with Keras and save it with model.export(FOLDER)"
)
SAVED_MODEL = ModelKind("a TensorFlow SavedModel", "tensorflow")
SAVED_MODEL_FILE = ModelKind("the saved_model.pb of a TensorFlow SavedModel", "tensorflow")
GRAPH_DEF = ModelKind("a TensorFlow GraphDef", "tensorflow")
TFLITE = ModelKind("a TensorFlow Lite model", advice="serve the SavedModel that it was made from")
OPENVINO_IR = ModelKind("an OpenVINO IR (.xml)", "openvino")
TENSORRT = ModelKind("a TensorRT engine", "tensorrt")
JAX_EXPORT = ModelKind("an artifact of jax.export", "jax")
SKOPS = ModelKind("a skops archive of scikit-learn", "tabular")
XGBOOST = ModelKind("an XGBoost model", "tabular")
LIGHTGBM = ModelKind("a LightGBM model", "tabular")
LIGHTGBM_DUMP = ModelKind(
    "LightGBM's JSON, which LightGBM itself cannot load", advice="save it with save_model as text"
)
PICKLE = ModelKind("a Python pickle", "tabular")
SAFETENSORS = ModelKind("a safetensors file", advice="weights alone are no model: export it with its code")
GGUF = ModelKind("a GGUF file", advice="no backend here runs it")
XML = ModelKind("an XML document", advice="look into it: a download may have been answered with an error")
ZIP = ModelKind("a ZIP archive", advice="unpack it, or export the model in the format that the backend reads")
TAR = ModelKind("a gzip or tar archive", advice="unpack it into the version's folder")
DAMAGED_ZIP = ModelKind("a ZIP archive that is cut off or damaged", advice="export or copy it again")

_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch.save wrote before it made archives
# ModelProto: the first field is its version, of which there is none below 3 in use; then any of the further ones
_ONNX = re.compile(rb"\x08[\x03-\x40][\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2]")
# GraphDef: a field of nodes, whose first is the first node's name, and the next its operation
_GRAPH_DEF = re.compile(rb"\n[\x80-\xff]{0,4}[\x00-\x7f]\n.[\w./>\\-]{1,127}\x12.[A-Za-z]\w+", re.DOTALL)


def kind_of(path: Path) -> ModelKind | None:
    """The kind; None where nothing tells it. Never raises."""
    try:
        if path.is_dir():
            return SAVED_MODEL if is_saved_model(path) else None
        if not path.is_file():  # a pipe would wait for somebody who writes into it
            return None
        with path.open("rb") as file:
            start = file.read(_START)
        if start.startswith(b"PK\x03\x04"):
            return _of_archive(path)
    except OSError:
        return None
    return _of_start(start, path.suffix)


def is_saved_model(path: Path) -> bool:
    """Whether it is a folder that is itself a model, of TensorFlow. Never raises."""
    return any(os.path.isfile(path / name) for name in ("saved_model.pb", "saved_model.pbtxt"))


def backend_of_file(path: Path) -> str:
    """The backend that runs such files; "" where nothing tells it."""
    kind = kind_of(path)
    return kind.backend if kind is not None else ""


def wrong_kind(path: Path, backend: str) -> str:
    """What an error about a file that the backend cannot read ends with; "" where nothing is known.

    Such as "; the file is a TorchScript archive: set backend: "pytorch" in config.pbtxt".
    """
    kind = kind_of(path)
    if kind is None or kind.backend == backend:
        return ""
    what = "folder" if path.is_dir() else "file"
    remedy = f'set backend: "{kind.backend}" in config.pbtxt' if kind.backend else kind.advice
    return f"; the {what} is {kind.text}: {remedy}"


def _of_start(start: bytes, suffix: str) -> ModelKind | None:
    if not start:
        return EMPTY
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return GIT_LFS
    if text.startswith((b"<!doctype", b"<html")):
        return WEB_PAGE
    if text.startswith((b"<?xml", b"<net")):
        return OPENVINO_IR if b"<net" in text else WEB_PAGE if b"<html" in text else XML
    return _of_magic(start) or _of_fields(start, suffix)


def _of_magic(start: bytes) -> ModelKind | None:
    """Where the format has bytes of its own for this."""
    if start.startswith(b"\x89HDF\r\n"):
        return HDF5
    if start.startswith(b"GGUF"):
        return GGUF
    if start[4:8] == b"TFL3":
        return TFLITE
    if start.startswith((b"ftrt", b"ptrt")):
        return TENSORRT
    if start.startswith((b"\x1f\x8b", b"BZh")) or start[257:262] == b"ustar":
        return TAR
    if b"ML\xefR" in start[4:] and b"StableHLO" in start:  # MLIR's bytes, inside a table of JAX's
        return JAX_EXPORT
    if start.startswith(_LEGACY_TORCH):
        return STATE_DICT
    if (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or start.startswith(
        b"ccopy_reg\n"
    ):
        return PICKLE
    return None


def _of_fields(start: bytes, suffix: str) -> ModelKind | None:
    """Where only the first fields tell it."""
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 30:
        return SAFETENSORS
    if start.startswith((b"tree\n", b"tree\r\n")):
        return LIGHTGBM
    if start.startswith(b"{") and b'"num_tree_per_iteration"' in start:
        return LIGHTGBM_DUMP
    if start.startswith((b"binf", b"bs64")) or (
        start.startswith(b"{") and (b'"learner"' in start or b"\x07learner" in start)
    ):
        return XGBOOST
    if start.startswith(b"\x08\x01\x12"):
        return SAVED_MODEL_FILE
    if _ONNX.match(start) or (start[:1] == b"\x08" and suffix == ".onnx"):
        return ONNX
    if _GRAPH_DEF.match(start):
        return GRAPH_DEF
    return None


def _of_archive(path: Path) -> ModelKind:
    try:
        with zipfile.ZipFile(path) as archive:
            return _of_names(archive.namelist()[:_NAMES])
    except Exception:  # what a damaged archive makes zipfile raise is nowhere written
        return DAMAGED_ZIP


def _of_names(names: Collection[str]) -> ModelKind:
    inner = {name.partition("/")[2] for name in names}
    if "schema.json" in names:
        return SKOPS
    if {"config.json", "metadata.json"} <= set(names):
        return KERAS
    if "archive_format" in inner or "archive_format" in names:
        return AOTI if any("/aotinductor/" in f"/{name}" for name in names) else PT2
    if "serialized_exported_program.json" in {*names, *inner}:
        return PT2
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return TORCHSCRIPT
    if "data.pkl" in inner:
        return STATE_DICT
    return ZIP
