"""`atoll inspect`: what a model file holds, and the complete config.pbtxt with which it would be served."""

import argparse
import json
import os
import sys
from typing import Any

from atoll.cli.arguments import add_options, values_of
from atoll.config.json_form import to_json
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.config.textproto import write_config_text
from atoll.errors import AtollError
from atoll.models.fleet import Fleet
from atoll.models.inspection import Inspection
from atoll.options import OPTIONS, ServerOptions, library_options

_OPTIONS = frozenset({"backend-config", "model-config-name", "follow-external-symlinks", "repository-cache-directory"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, and those options of the server that concern what is in it."""
    parser.add_argument("model", metavar="MODEL", help="a model file, or a model's directory with its version folders")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of config.pbtxt")
    add_options(parser, [one for one in OPTIONS if one.name in _OPTIONS])


def run(namespace: argparse.Namespace) -> int:
    """0 where the model could be read and served so, 1 where not. What is printed is a config.pbtxt as it stands: what
    the file holds is said in comments.
    """
    values = values_of(namespace)
    options = ServerOptions(**library_options(values))
    try:
        fleet = Fleet(options, os.environ)
        try:
            inspection = fleet.inspect(namespace.model)
        finally:
            fleet.stop(deadline_ns=0)
    except AtollError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(_document(inspection), indent=2) if namespace.json else _text(inspection))
    for problem in inspection.problems:
        print(f"{'warning' if problem.warning else 'error'}: {problem}", file=sys.stderr)
    return 0


def _text(inspection: Inspection) -> str:
    version = f" version {inspection.version}" if inspection.version else ""
    lines = [f"# {inspection.model}{version}, for the backend {inspection.config.backend}"]
    signature = inspection.signature
    if signature is None:
        lines.append("# the backend cannot tell the file's tensors")
    else:
        lines += [f"# the file has: {one}" for one in _listed(signature)]
        lines.append(f"# {_batching(signature)}")
    return "\n".join([*lines, "", write_config_text(inspection.config).rstrip()])


def _listed(signature: ModelSignature) -> list[str]:
    return [
        f"{kind} {one.name} {one.data_type.config_name} {_shape(one)}{' (optional)' if one.optional else ''}"
        for kind, tensors in (("input", signature.inputs), ("output", signature.outputs))
        for one in tensors
    ]


def _shape(tensor: TensorSignature) -> str:
    return "of unknown shape" if tensor.shape is None else f"[{', '.join(map(str, tensor.shape))}]"


def _batching(signature: ModelSignature) -> str:
    if signature.supports_batching():
        return "it can batch: the first dimension of every tensor is that of the batch, and is not repeated in dims"
    return "it cannot batch (a tensor's first dimension is fixed): max_batch_size is 0, and dims are whole shapes"


def _document(inspection: Inspection) -> dict[str, Any]:
    signature = inspection.signature

    def tensors(found: tuple[TensorSignature, ...]) -> list[dict[str, Any]]:
        return [
            {
                "name": one.name,
                "data_type": one.data_type.config_name,
                "shape": None if one.shape is None else list(one.shape),
                "optional": one.optional,
            }
            for one in found
        ]

    return {
        "model": inspection.model,
        "version": inspection.version,
        "file": None
        if signature is None
        else {
            "inputs": tensors(signature.inputs),
            "outputs": tensors(signature.outputs),
            "batching": signature.supports_batching(),
        },
        "config": to_json(inspection.config),
    }
