"""Which part of the protocol each procedure belongs to: what a gate needs to know of a call before it is read."""

from collections.abc import Mapping

from atoll.frontends.apis import Api
from atoll.frontends.grpc.documents import HEALTH, SERVICE

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
