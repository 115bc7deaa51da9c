"""Reads a frozen GraphDef, whose file has no signature: inputs and outputs go by the names of operations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.tensorflow.custom_operations import demand_operations
from atoll.backends.tensorflow.graph import VARIABLES, ModelGraph, node_of, reached
from atoll.backends.tensorflow.model_file import load_error, not_whole
from atoll.backends.tensorflow.runtime import dismantle, import_tensorflow
from atoll.backends.tensorflow.settings import ModelSettings
from atoll.backends.tensorflow.types import data_type_of
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError

_PLACEHOLDERS = ("Placeholder", "PlaceholderV2")
_WITH_DEFAULT = "PlaceholderWithDefault"
_NO_RESULTS = frozenset({"Assert", "Const", "NoOp", _WITH_DEFAULT, *_PLACEHOLDERS})
_MAX_SHOWN = 20


def parse_graph_def(source: ModelSource, path: Path) -> Any:
    """The file's GraphDef. Raises ConfigError where it is none."""
    definition = import_tensorflow().compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except Exception as error:
        raise load_error(source, path, error, not_whole(path, "GraphDef")) from error
    if not definition.node:
        raise load_error(source, path, ValueError("no node in it"), not_whole(path, "GraphDef"))
    return definition


def read_graph_def(source: ModelSource, path: Path, definition: Any, settings: ModelSettings) -> ModelGraph:
    """The graph, with the tensors that the configuration names. Those that it does not name are the placeholders and
    the operations whose results nothing in the graph uses.

    Raises ConfigError where TensorFlow refuses the graph.
    """
    tensorflow_ = import_tensorflow()
    demand_operations(source, path, definition)
    graph = tensorflow_.Graph()
    try:
        with graph.as_default():
            tensorflow_.import_graph_def(definition, name="")
        inputs, outputs, operations = _chosen(source, path, definition, graph)
    except Exception as error:
        raise load_error(source, path, error) from error
    finally:
        dismantle(graph)
    if operations & VARIABLES and not settings.init_ops:
        raise ConfigError(
            f"failed to load model '{source.name}' from '{path}': the graph has variables, whose values are not in the "
            "file: freeze it, save it as a SavedModel, or name the operations that set them in the file that the "
            "parameter TF_INIT_OPS_FILE names"
        )

    def restore(session: Any) -> None:
        with session.graph.as_default():
            tensorflow_.import_graph_def(definition, name="")

    return ModelGraph(
        path=path,
        signature=ModelSignature(inputs=tuple(inputs), outputs=tuple(outputs)),
        feeds={one.name: _tensor_name(one.name) for one in inputs},
        fetches={one.name: _tensor_name(one.name) for one in outputs},
        operations=operations,
        definition=definition,
        restore=restore,
    )


def _chosen(
    source: ModelSource, path: Path, definition: Any, graph: Any
) -> tuple[list[TensorSignature], list[TensorSignature], frozenset[str]]:
    """The inputs, the outputs, and the kinds of operations between them."""
    nodes = {node.name: node for node in definition.node}
    config = source.config
    fetched = [one.name for one in config.output if _element(graph, one.name) is not None]
    if not fetched or len(fetched) < len(config.output):  # what is misnamed is told from what there is
        fetched += [one for one in _results(definition) if one not in fetched]
    outputs = _tensors(graph, fetched)
    if not outputs:
        raise ConfigError(
            f"model '{source.name}': no operation of '{path}' gives a tensor of numbers or strings that nothing else "
            "uses; name the outputs in config.pbtxt"
        )
    named = [one.name for one in config.input if _element(graph, one.name) is not None]
    fed = {node_of(one) for one in named}
    needed, operations = reached(definition, [node_of(one.name) for one in outputs], fed)
    # those with a default are there for training, mostly: they are inputs where the configuration says so
    placeholders = [name for name in nodes if name in needed - fed and nodes[name].op in _PLACEHOLDERS]
    inputs = _tensors(graph, [*named, *placeholders])
    return [_optional(one, nodes) for one in inputs], outputs, operations


def _tensor_name(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _element(graph: Any, name: str) -> Any:
    """The graph's tensor of that name; None where there is none."""
    try:
        return graph.get_tensor_by_name(_tensor_name(name))
    except (KeyError, ValueError):
        return None


def _results(definition: Any) -> list[str]:
    """The nodes whose outputs nothing uses."""
    used = {node_of(one) for node in definition.node for one in node.input}
    return [one.name for one in definition.node if one.name not in used and one.op not in _NO_RESULTS][:_MAX_SHOWN]


def _tensors(graph: Any, names: list[str]) -> list[TensorSignature]:
    found = []
    for name in names:
        tensor = _element(graph, name)
        datatype = data_type_of(tensor.dtype.base_dtype.as_datatype_enum) if tensor is not None else None
        if datatype is not None:
            found.append(TensorSignature(name=name, data_type=datatype, shape=_shape(tensor.shape)))
    return found


def _shape(shape: Any) -> tuple[int, ...] | None:
    return None if shape.rank is None else tuple(-1 if dim is None else int(dim) for dim in shape.as_list())


def _optional(one: TensorSignature, nodes: Mapping[str, Any]) -> TensorSignature:
    if nodes[node_of(one.name)].op != _WITH_DEFAULT:
        return one
    return TensorSignature(name=one.name, data_type=one.data_type, shape=one.shape, optional=True)
