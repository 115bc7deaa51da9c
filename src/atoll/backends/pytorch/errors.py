"""What is wrong with a model that PyTorch does not take, or with a batch that failed in it."""

import re
from pathlib import Path

from atoll.backends.error_text import bounded
from atoll.backends.model_kind import kind_of, wrong_kind
from atoll.errors import AtollError, ConfigError, InternalError, InvalidArgumentError

_MINIZ = re.compile(r" This is an internal miniz error\..*", re.DOTALL)
_OPERATOR = re.compile(
    r"Unknown builtin op: ([\w:]+)|[Nn]o such operator ([\w:]+)|'_OpNamespace' '(\w+)' object has no attribute '(\w+)'"
    r"|Could not find schema for ([\w:.]+)|Unresolved operator: ([\w:.]+)"
)
_NEEDS_CUDA = re.compile(r"CUDA|cuda")


def load_error(model: str, path: Path, error: BaseException | str) -> ConfigError:
    """Why the file could not be loaded, and what to do about it."""
    text = bounded(error) if isinstance(error, str) else error_text(error)
    return ConfigError(f"failed to load model '{model}' from '{path}': {text}{_advice(path, text)}")


def error_text(error: BaseException) -> str:
    """PyTorch's text, never a long one."""
    return bounded(_MINIZ.sub("", str(error).strip()) or type(error).__name__)


def execution_error(error: Exception) -> AtollError:
    """What the requests of a batch get that failed in PyTorch, in the words of Triton's backend."""
    if isinstance(error, AtollError):
        return error
    text = f"PyTorch execute failure: {error_text(error)}"
    if isinstance(error, IndexError) or "index out of range in self" in text:  # a value that an embedding lacks, mostly
        return InvalidArgumentError(text)
    return InternalError(text)


def _advice(path: Path, text: str) -> str:
    wrong = wrong_kind(path, "pytorch")
    if wrong:
        return wrong
    operator = _OPERATOR.search(text)
    if operator is not None:
        name = next(one for one in operator.groups() if one)
        return (
            f"; this PyTorch lacks the operator '{name}', which comes with a library of its own (torchvision, say) "
            "that the file does not hold: name its shared library with model_operations.op_library_filename in "
            "config.pbtxt"
        )
    if "version" in text.lower() and ("newer" in text or "does not match" in text or "read up to" in text):
        return "; the file was saved by another version of PyTorch: upgrade PyTorch here, or export it again"
    if _NEEDS_CUDA.search(text):
        return "; the file needs a GPU that is not here: export it on the CPU, or use kind: KIND_GPU where there is one"
    if kind_of(path) is None:
        return "; its bytes are no model of PyTorch: it is cut off or of another kind, export or copy it again"
    return ""
