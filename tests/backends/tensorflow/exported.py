"""Models as TensorFlow's own exporters write them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from atoll.backends.tensorflow.runtime import import_tensorflow

tf = import_tensorflow()
ELEMENTS = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "string", "BF16": "bfloat16"}

Specs = Mapping[str, tuple[str, Sequence[int | None] | None]]


def element(datatype: str) -> Any:
    """The tf.DType of a protocol name."""
    return tf.as_dtype(ELEMENTS.get(datatype, datatype.lower()))


def save(folder: Path, compute: Callable[..., Mapping[str, Any]], specs: Specs, name: str = "serving_default") -> Path:
    """A SavedModel of TensorFlow 2 whose signature has inputs of these elements and shapes."""
    module = tf.Module()
    inputs = {key: tf.TensorSpec(shape, element(datatype), name=key) for key, (datatype, shape) in specs.items()}

    def named(**tensors: Any) -> Mapping[str, Any]:
        return compute(**tensors)

    module.run = tf.function(named)
    tf.saved_model.save(module, str(folder), signatures={name: module.run.get_concrete_function(**inputs)})
    return folder


def freeze(path: Path, build: Callable[[], object]) -> Path:
    """A GraphDef of what `build` puts into the default graph."""
    graph = tf.Graph()
    with graph.as_default():
        build()
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path
