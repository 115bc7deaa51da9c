"""What is known of a call before its procedure reads it: which part of the protocol it is, and which model it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.frontends.apis import Api
from atoll.frontends.grpc.procedures.procedure import HEALTH, SERVICE
from atoll.protocol.schema import message_class

_NAMES = {
    Api.HEALTH: ("ServerLive", "ServerReady", "ModelReady"),
    Api.METADATA: ("ServerMetadata", "ModelMetadata"),
    Api.INFERENCE: ("ModelInfer", "ModelStreamInfer"),
    Api.SHARED_MEMORY: (
        "SystemSharedMemoryStatus",
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryUnregister",
        "CudaSharedMemoryStatus",
        "CudaSharedMemoryRegister",
        "CudaSharedMemoryUnregister",
    ),
    Api.MODEL_CONFIG: ("ModelConfig",),
    Api.MODEL_REPOSITORY: ("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
    Api.STATISTICS: ("ModelStatistics",),
    Api.TRACE: ("TraceSetting",),
    Api.LOGGING: ("LogSettings",),
}

API_OF: Mapping[str, Api] = {
    HEALTH + "Check": Api.HEALTH,
    **{SERVICE + name: api for api, names in _NAMES.items() for name in names},
}
"""By full path. A procedure that is not here cannot be served: it could not be restricted either."""


@dataclass(frozen=True, slots=True)
class ModelFields:
    """Where a procedure's messages name a model. `version` is "" where they name none."""

    message: Any
    """The class of the messages."""
    name: str
    version: str


def model_fields(path: str) -> ModelFields | None:
    """None for a procedure whose messages are about no model."""
    if not path.startswith(SERVICE) or API_OF.get(path) is Api.SHARED_MEMORY:  # whose name is that of a region
        return None
    kind = message_class(f"inference.{path.removeprefix(SERVICE)}Request")
    there = kind.DESCRIPTOR.fields_by_name
    for name, version in (("model_name", "model_version"), ("name", "version")):
        if name in there:
            return ModelFields(kind, name, version if version in there else "")
    return None
