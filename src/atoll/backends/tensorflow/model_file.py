"""Where a TensorFlow model lies, and what to say of one that is not there or cannot be read."""

from collections.abc import Sequence
from pathlib import Path

from atoll.backends.api import ModelSource
from atoll.backends.model_kind import is_saved_model, kind_of, wrong_kind
from atoll.backends.model_path import model_path
from atoll.backends.tensorflow.errors import error_text
from atoll.errors import AtollError, ConfigError

SAVED_MODEL = "model.savedmodel"
GRAPH_DEF = "model.graphdef"
_MODEL_SUFFIXES = (".savedmodel", ".graphdef", ".pb", ".keras", ".h5", ".hdf5", ".tflite", ".ckpt")


def find_model(source: ModelSource) -> tuple[Path, bool]:
    """The version's SavedModel folder or its frozen graph, and whether it is the latter.

    It is what `default_model_filename` names, or "model.savedmodel", or "model.graphdef"; or the version's folder
    itself where that is a SavedModel, as TensorFlow Serving has them. Raises ConfigError where there is none.
    """
    folder = source.version_directory
    named = source.config.default_model_filename
    if source.config.platform == "tensorflow_graphdef":
        return model_path(source, GRAPH_DEF, suffixes=_MODEL_SUFFIXES), True
    names = (named,) if named else (SAVED_MODEL, GRAPH_DEF)
    for path in (folder / name for name in names):
        if path.is_file():
            if path.name != GRAPH_DEF and path.suffix not in (".graphdef", ".pb"):
                raise ConfigError(
                    f"failed to load model '{source.name}' from '{path}': a SavedModel is a folder with saved_model.pb "
                    f"in it, but this is a file{wrong_kind(path, 'tensorflow')}; a frozen graph is named {GRAPH_DEF}"
                )
            return path, True
        if is_saved_model(path):
            return path, False
        if path.is_dir():
            raise ConfigError(_no_saved_model(source, path))
    if named in ("", SAVED_MODEL) and is_saved_model(folder):
        return folder, False
    found, advice = _meant(folder)
    if advice:
        raise ConfigError(
            f"unable to find '{folder / names[0]}' for model '{source.name}'; found {found} there: {advice}"
        )
    return model_path(source, SAVED_MODEL, is_model=is_saved_model, suffixes=_MODEL_SUFFIXES), False


def load_error(source: ModelSource, path: Path, error: Exception, advice: str = "") -> AtollError:
    """Why it could not be loaded, and what to do about it."""
    if isinstance(error, AtollError):
        return error
    kind = type(error).__name__
    return ConfigError(
        f"failed to load model '{source.name}' from '{path}': {kind}: {error_text(error)}"
        f"{advice or wrong_kind(path, 'tensorflow')}"
    )


def not_whole(path: Path, what: str) -> str:
    """Advice about a file of bytes that cannot be parsed."""
    return wrong_kind(path, "tensorflow") or (
        f"; its {path.stat().st_size} bytes are not a whole {what}: it is cut off or of another kind, export or copy "
        "it again"
    )


def _no_saved_model(source: ModelSource, path: Path) -> str:
    entries = sorted(one.name for one in path.iterdir())[:8]
    message = f"failed to load model '{source.name}' from '{path}': there is no saved_model.pb in this folder"
    inner = [one for one in entries if is_saved_model(path / one)]
    if inner:
        return f"{message}, but the SavedModel '{inner[0]}': move what is in that one level up"
    _, advice = _meant(path)
    return (
        f"{message}, which holds {', '.join(entries) or 'nothing'}; {advice or 'export or copy the SavedModel again'}"
    )


def _meant(folder: Path) -> tuple[str, str]:
    """A file that belongs to another format of TensorFlow's or Keras's, and what to do about it."""
    names = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    for name in names:
        kind = kind_of(folder / name) if name.endswith((".keras", ".h5", ".hdf5", ".tflite")) else None
        if kind is not None and kind.advice:
            return name, f"it is {kind.text}: {kind.advice}"
    checkpoint = _checkpoint(names)
    if checkpoint:
        advice = "weights alone are no model: export it with tf.saved_model.save, or Keras's model.export(FOLDER)"
        return checkpoint, f"it is of a checkpoint: {advice}"
    if "model_config.json" in names or "model.json" in names:
        return next(one for one in names if one.endswith("model.json") or one == "model_config.json"), (
            "a model in JSON is for TensorFlow.js or Keras: save it as a SavedModel"
        )
    return "", ""


def _checkpoint(names: Sequence[str]) -> str:
    return next((one for one in names if one == "checkpoint" or one.endswith((".index", ".ckpt"))), "")
