"""`atoll inspect`: what a model file holds, and the complete config.pbtxt with which it would be served."""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from atoll.backends.model_kind import backend_of_file
from atoll.cli.arguments import add_options, bounded, values_of
from atoll.cli.problem_document import problem_document, problem_text
from atoll.config.config_file import FORMS
from atoll.config.json_form import to_json
from atoll.config.platforms import guess_backend
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.config.textproto import write_config_text
from atoll.errors import AtollError, InvalidArgumentError, NotFoundError
from atoll.models.fleet import Fleet
from atoll.models.inspection import Inspection
from atoll.models.location import Location, is_bare_model, location_of, repositories_below
from atoll.options import OPTIONS, ServerOptions, library_options
from atoll.repositories.local import LocalRepository
from atoll.repositories.object_store import is_object_store

_OPTIONS = frozenset(
    {
        "disable-auto-complete-config",
        "backend-config",
        "backend-directory",
        "model-config-name",
        "config",
        "follow-external-symlinks",
        "repository-cache-directory",
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, and those options of the server that concern what is in it."""
    parser.add_argument("model", metavar="MODEL", help="a model file, or a model's directory with its version folders")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of config.pbtxt")
    add_options(parser, [one for one in OPTIONS if one.name in _OPTIONS])


def run(namespace: argparse.Namespace) -> int:
    """0 where the model would be served so; 1 where what is written about it cannot be used, 2 where there is no model
    or nobody can tell what it is. What is printed is a config.pbtxt as it stands: what the file holds is said in
    comments.
    """
    try:
        inspection = _inspect(namespace)
    except AtollError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in inspection.problems:
        print(problem_text(problem), file=sys.stderr)
    if is_bare_model(namespace.model):
        # the folder that it is saved in gives the model its name, and the file's own name is rarely that
        inspection = replace(inspection, config=replace(inspection.config, name=""))
    print(json.dumps(_document(inspection), indent=2) if namespace.json else _text(inspection))
    return 0 if inspection.usable else 1


def _inspect(namespace: argparse.Namespace) -> Inspection:
    model: str = namespace.model
    repository = ""
    if is_object_store(model):
        repository = model.rstrip("/").rpartition("/")[0]
    else:
        path = Path(model).resolve() if Path(model).name in ("", "..") else Path(model)
        model = str(path)
        _demand_model(path)
        repository = model if is_bare_model(model) else str(path.parent)
    # the repository's own configuration file counts here as it does when the model is served
    options = ServerOptions(**library_options(bounded(values_of(namespace))), model_repository=(repository,))
    fleet = Fleet(options, os.environ)
    try:
        return fleet.inspect(model)
    finally:
        fleet.stop(deadline_ns=0)


def _demand_model(path: Path) -> None:
    """Raises NotFoundError, InvalidArgumentError saying what to name instead, where a path is no model's."""
    kind = location_of(path)
    if kind is Location.NOTHING:
        raise NotFoundError(f"there is nothing at {path}: name a model file, or a model's folder")
    if kind is Location.FILE and (path.suffix == ".pbtxt" or (path.stem == "config" and path.suffix in FORMS)):
        raise InvalidArgumentError(f"{path} is a configuration, not a model: name the model's folder, {path.parent}")
    known = kind is not Location.FILE or guess_backend([f"model{path.suffix}"]) or backend_of_file(path)
    if not known and not _config_beside(path):
        raise InvalidArgumentError(
            f"{path} is no model file of a kind that is known by its ending or its first bytes: name the model's "
            "folder, which says in its configuration what the file is"
        )
    if kind is Location.REPOSITORY:
        names = LocalRepository(path, external_symlinks=True).names()
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise InvalidArgumentError(
            f"{path} is a repository of the models {', '.join(names[:_SHOWN])}{more}: name one of them, such as "
            f"{path / names[0]}; atoll validate looks at all of them"
        )
    if kind is Location.ABOVE:
        raise InvalidArgumentError(
            f"{path} holds repositories, such as {repositories_below(path)[0]}: name a model's folder in one of them"
        )
    if kind is Location.VERSION:
        raise InvalidArgumentError(
            f"{path} is a version's folder: name the model's folder, {path.absolute().parent}, or the file in it"
        )


def _config_beside(path: Path) -> bool:
    return any((path.parent / f"config{ending}").exists() for ending in FORMS)


_SHOWN = 10  # names in an error


def _text(inspection: Inspection) -> str:
    version = f" version {inspection.version}" if inspection.version else ""
    ensemble = inspection.config.ensemble_scheduling
    if ensemble is not None:
        steps = " -> ".join(one.model_name for one in ensemble.step)
        lines = [f"# {inspection.model}{version}, an ensemble of {steps}"]
    else:
        lines = [f"# {inspection.model}{version}, for the backend {inspection.config.backend}"]
    signature = inspection.signature
    if ensemble is not None:
        pass
    elif signature is None:
        lines.append("# the backend cannot tell the file's tensors")
    else:
        lines += [f"# the file has: {one}" for one in _listed(signature)]
        lines.append(f"# {_batching(signature)}")
    if not inspection.usable:
        lines.append("# WHAT IS WRITTEN ABOUT IT CANNOT BE USED; with nothing written it would be served with this:")
    return "\n".join([*lines, "", write_config_text(inspection.config).rstrip()])


def _listed(signature: ModelSignature) -> list[str]:
    return [
        f"{kind} {one.name} {one.type_name} {_shape(one)}{' (optional)' if one.optional else ''}"
        for kind, tensors in (("input", signature.inputs), ("output", signature.outputs))
        for one in tensors
    ]


def _shape(tensor: TensorSignature) -> str:
    return "of unknown shape" if tensor.shape is None else f"[{', '.join(map(str, tensor.shape))}]"


def _batching(signature: ModelSignature) -> str:
    if signature.batching is None and any(one.shape is None for one in (*signature.inputs, *signature.outputs)):
        return "it does not say whether it can batch: set max_batch_size if the first dimension of all is the batch's"
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
        "ok": inspection.usable,
        "config": to_json(inspection.config),
        "problems": [problem_document(one) for one in inspection.problems],
    }
