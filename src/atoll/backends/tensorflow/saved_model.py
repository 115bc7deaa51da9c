"""Reads a SavedModel: chooses one of its graphs by tags, and one of the graph's signatures."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.tensorflow.graph import VARIABLES, ModelGraph, node_of, reached
from atoll.backends.tensorflow.model_file import load_error, not_whole
from atoll.backends.tensorflow.runtime import submodule
from atoll.backends.tensorflow.settings import ModelSettings
from atoll.backends.tensorflow.types import data_type_of
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError

logger = logging.getLogger(__name__)
_DEFAULT_TAG = "serve"
_DEFAULT_SIGNATURE = "serving_default"
_NO_SIGNATURES = frozenset({"__saved_model_init_op", "__saved_model_train_op"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


def read_saved_model(source: ModelSource, path: Path, settings: ModelSettings) -> ModelGraph:
    """The graph and the signature that the settings choose.

    Raises ConfigError naming the file and the cause, with the tags or the signatures that there are.
    """
    try:
        loader = submodule("python.saved_model.loader_impl").SavedModelLoader(str(path))
    except Exception as error:
        binary = path / "saved_model.pb"
        raise load_error(source, path, error, not_whole(binary, "SavedModel") if binary.is_file() else "") from error
    whole = loader.saved_model
    if not whole.meta_graphs:
        binary = path / "saved_model.pb"
        raise load_error(source, path, ValueError("no graph in it"), not_whole(binary, "SavedModel"))
    chosen = _chosen_tags([frozenset(one.meta_info_def.tags) for one in whole.meta_graphs], settings, source, path)
    meta_graph = next(one for one in whole.meta_graphs if frozenset(one.meta_info_def.tags) == chosen)
    name = _chosen_signature(meta_graph.signature_def, settings, source, path)
    signature = meta_graph.signature_def[name]
    definition = meta_graph.graph_def
    kinds = {node.name: node.op for node in definition.node}
    where = f"of signature '{name}' of '{path}'"
    inputs = [_input(one, signature.inputs[one], kinds, where) for one in sorted(signature.inputs)]
    served = _outputs(signature.outputs, where)
    if not served:
        raise ConfigError(f"no output {where} is a tensor of numbers or strings: the model cannot be served")
    fetches = {one.name: signature.outputs[one.name].name for one in served}
    feeds = {one.name: signature.inputs[one.name].name for one in inputs}
    nodes, operations = reached(definition, map(node_of, fetches.values()), {node_of(one) for one in feeds.values()})
    _demand_variables(source, path, VARIABLES & {kinds[one] for one in nodes})
    if settings.jit_compile:
        for node in definition.node:
            if node.name in nodes and node.op in _CALLS:
                node.attr["_XlaMustCompile"].b = True

    def restore(session: Any) -> None:
        loader.load(session, list(chosen))

    return ModelGraph(
        path=path,
        signature=ModelSignature(inputs=tuple(inputs), outputs=tuple(served)),
        feeds=feeds,
        fetches=fetches,
        operations=operations,
        definition=definition,
        restore=restore,
    )


def _chosen_tags(
    there: Sequence[frozenset[str]], settings: ModelSettings, source: ModelSource, path: Path
) -> frozenset[str]:
    wanted = frozenset(settings.tags or (_DEFAULT_TAG,))
    if wanted in there:
        return wanted
    if len(there) == 1 and not settings.tags:
        return there[0]
    listed = "; ".join(sorted(", ".join(sorted(one)) or "none" for one in there)) or "no graph at all"
    raise ConfigError(
        f"model '{source.name}': '{path}' has no graph with the tags '{','.join(sorted(wanted))}'; its graphs' tags "
        f"are: {listed}; name one of these in the parameter TF_GRAPH_TAG"
    )


def _chosen_signature(there: Mapping[str, Any], settings: ModelSettings, source: ModelSource, path: Path) -> str:
    names = sorted(one for one in there if one not in _NO_SIGNATURES and there[one].outputs)
    listed = ", ".join(names) or "none"
    if settings.signature:
        if settings.signature in names:
            return settings.signature
        raise ConfigError(
            f"model '{source.name}': '{path}' has no signature '{settings.signature}'; its signatures are: {listed}; "
            "name one of these in the parameter TF_SIGNATURE_DEF"
        )
    if _DEFAULT_SIGNATURE in names:
        return _DEFAULT_SIGNATURE
    if len(names) > 1:
        names = [one for one in names if _fits(source, there[one])]
    if len(names) == 1:
        logger.info("model '%s': '%s' has no signature 'serving_default', using '%s'", source.name, path, names[0])
        return names[0]
    advice = "name one of these in the parameter TF_SIGNATURE_DEF"
    if listed == "none":
        advice = "export the model with one: Keras does with model.export(FOLDER), tf.saved_model.save with signatures="
    raise ConfigError(
        f"model '{source.name}': unable to load '{path}', expected 'serving_default' signature; its signatures are: "
        f"{listed}; {advice}"
    )


def _fits(source: ModelSource, signature: Any) -> bool:
    """Whether the configuration names tensors of this signature, and only such."""
    config = source.config
    named = bool(config.input or config.output)
    return (
        named
        and all(one.name in signature.inputs for one in config.input)
        and all(one.name in signature.outputs for one in config.output)
    )


def _input(name: str, info: Any, kinds: Mapping[str, str], where: str) -> TensorSignature:
    optional = kinds.get(node_of(info.name)) == "PlaceholderWithDefault"
    found = _tensor(name, info, optional=optional)
    if found is None:
        raise ConfigError(
            f"input '{name}' {where} is {_what(info)}, which the inference protocol does not have; export the model "
            "with tensors of numbers or strings"
        )
    return found


def _outputs(there: Mapping[str, Any], where: str) -> list[TensorSignature]:
    found = []
    for name in sorted(there):
        tensor = _tensor(name, there[name])
        if tensor is not None:
            found.append(tensor)
        else:
            what = _what(there[name])
            logger.warning(
                "output '%s' %s is %s, which the inference protocol does not have; left out", name, where, what
            )
    return found


def _tensor(name: str, info: Any, *, optional: bool = False) -> TensorSignature | None:
    datatype = data_type_of(info.dtype)
    if datatype is None or info.WhichOneof("encoding") != "name":
        return None
    return TensorSignature(name=name, data_type=datatype, shape=shape_of(info.tensor_shape), optional=optional)


def shape_of(shape: Any) -> tuple[int, ...] | None:
    """Of a TensorShapeProto."""
    return None if shape.unknown_rank else tuple(dim.size if dim.size >= 0 else -1 for dim in shape.dim)


def _what(info: Any) -> str:
    if info.WhichOneof("encoding") == "coo_sparse":
        return "a sparse tensor"
    if info.WhichOneof("encoding") == "composite_tensor":
        return "a composite tensor (ragged, sparse or the like)"
    enum = info.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number.get(info.dtype)
    return f"of type {enum.name if enum is not None else info.dtype}"


def _demand_variables(source: ModelSource, path: Path, kinds: Collection[str]) -> None:
    """TensorFlow loads a model without its variables' files, and fails each run."""
    if kinds and not (path / "variables" / "variables.index").is_file():
        raise ConfigError(
            f"failed to load model '{source.name}' from '{path}': its graph has variables, but there is no "
            f"'{path / 'variables' / 'variables.index'}' with their values; copy the SavedModel's folder whole"
        )
