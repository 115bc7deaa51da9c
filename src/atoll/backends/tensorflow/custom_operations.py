"""Operations that TensorFlow does not have itself: their libraries, and what to say where these are not loaded."""

from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.model_path import operation_libraries
from atoll.backends.tensorflow.errors import error_text
from atoll.backends.tensorflow.graph import missing_operations
from atoll.backends.tensorflow.runtime import import_tensorflow, submodule
from atoll.errors import ConfigError

_MAX_SHOWN = 10


def load_libraries(source: ModelSource) -> None:
    """Those that `model_operations` names, from the version's folder or the model's. TensorFlow keeps them for good.

    Raises ConfigError where one is not there or cannot be loaded.
    """
    for path in operation_libraries(source):
        module = import_tensorflow()
        try:
            module.load_op_library(str(path))
        except Exception as error:
            raise ConfigError(
                f"model '{source.name}': cannot load the custom operations in '{path}': {error_text(error)}; they must "
                f"be built for the installed TensorFlow {module.__version__}"
            ) from error


def demand_operations(source: ModelSource, path: Path, definition: Any, written_by: str = "") -> None:
    """Raises ConfigError naming the operations in the graph that TensorFlow does not know."""
    known = submodule("python.framework.op_def_registry").get
    missing = missing_operations(definition, lambda kind: known(kind) is not None)
    if not missing:
        return
    shown = ", ".join(missing[:_MAX_SHOWN]) + (", ..." if len(missing) > _MAX_SHOWN else "")
    version = import_tensorflow().__version__
    writer = f", and TensorFlow {written_by} wrote the model" if written_by else ""
    raise ConfigError(
        f"failed to load model '{source.name}' from '{path}': Op type not registered: {shown}. If these are custom "
        "operations (such as TensorFlow Text's), name the library that has them in model_operations { "
        "op_library_filename } in config.pbtxt; if they came with a newer TensorFlow, upgrade it (installed: "
        f"{version}{writer})"
    )
