"""What a model's files say, asked in a child process: the server then never imports the model's framework.

`signature_recipe` and `told` are the server's part, `HostedSignature` the child's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from atoll.backends.api import Backend, ChildRecipe, ModelSource
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.isolation.hosted_backend import made_backend, recipe
from atoll.isolation.service import Service
from atoll.isolation.wire import Facts
from atoll.tensor import DataType

# ---- in the server


def signature_recipe(source: ModelSource, backend: Backend) -> ChildRecipe:
    """The process that is to be asked. Raises ConfigError for a backend that cannot be in one."""
    return replace(recipe(source, backend), make=f"{__name__}:{HostedSignature.__name__}")


def told(facts: Mapping[str, Any]) -> ModelSignature | None:
    """The signature of which the process has told."""
    document = facts["signature"]
    if document is None:
        return None
    return ModelSignature(
        inputs=_tensors(document["inputs"]),
        outputs=_tensors(document["outputs"]),
        batching=document["batching"],
        max_batch_size=document["max_batch_size"],
    )


def _tensors(documents: list[Mapping[str, Any]]) -> tuple[TensorSignature, ...]:
    return tuple(
        TensorSignature(
            name=one["name"],
            data_type=DataType[one["data_type"]],
            shape=None if one["shape"] is None else tuple(one["shape"]),
            optional=one["optional"],
        )
        for one in documents
    )


# ---- in the child


class HostedSignature:
    """Says the signature to the server, and nothing else. The constructor raises what the backend raises."""

    asynchronous = False

    def __init__(self, setup: Mapping[str, Any], service: Service):
        backend, source = made_backend(setup)
        self._signature = backend.signature(source)

    def facts(self) -> Facts:
        """The signature, as `told` reads it."""
        found = self._signature
        if found is None:
            return {"signature": None}
        sides = {"inputs": _documents(found.inputs), "outputs": _documents(found.outputs)}
        return {"signature": {**sides, "batching": found.batching, "max_batch_size": found.max_batch_size}}

    def close(self) -> None:
        """Nothing is held."""


def _documents(tensors: tuple[TensorSignature, ...]) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "data_type": one.data_type.name, "shape": one.shape, "optional": one.optional}
        for one in tensors
    ]
