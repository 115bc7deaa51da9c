"""The calls that register memory of clients. Those of GPUs' memory may have to wake a GPU, on another thread."""

from asyncio import AbstractEventLoop
from functools import partial
from typing import Any

from atoll.errors import UnsupportedError
from atoll.frontends.event_loop.blocking import BlockingCalls
from atoll.frontends.grpc.procedures.procedure import SERVICE, Work, blocking_procedure, procedure
from atoll.frontends.grpc.status import grpc_error
from atoll.frontends.grpc.transport import Call, UnaryHandler
from atoll.frontends.shared_memory.regions import OFF, RegionTable
from atoll.protocol.region_requests import (
    CudaRegion,
    SystemRegion,
    cuda_document,
    regions_of_message,
    system_document,
)

_NAMES = [f"{kind}SharedMemory{what}" for kind in ("System", "Cuda") for what in ("Status", "Register", "Unregister")]


class SharedMemoryCalls:
    """For one event loop. `regions` None: clients may share no memory, and every call says so."""

    def __init__(self, regions: RegionTable | None, loop: AbstractEventLoop):
        self._regions = regions
        self._calls = BlockingCalls(loop, "CUDA shared memory", threads=2)

    def procedures(self) -> dict[str, UnaryHandler]:
        """The unary calls by path."""
        regions = self._regions
        if regions is None:
            return {SERVICE + name: _refuse for name in _NAMES}
        quick: dict[str, Work] = {
            "SystemSharedMemoryStatus": partial(_status, regions),
            "SystemSharedMemoryRegister": partial(_register, regions),
            "SystemSharedMemoryUnregister": partial(_unregister, regions),
            "CudaSharedMemoryStatus": partial(_cuda_status, regions),
        }
        blocking: dict[str, Work] = {
            "CudaSharedMemoryRegister": partial(_register_cuda, regions),
            "CudaSharedMemoryUnregister": partial(_unregister_cuda, regions),
        }
        return {
            **{SERVICE + name: procedure(name, work) for name, work in quick.items()},
            **{SERVICE + name: blocking_procedure(name, self._calls, work) for name, work in blocking.items()},
        }

    def close(self) -> None:
        """The server is stopping."""
        self._calls.close()


def _refuse(call: Call, message: bytes) -> bytes:
    raise grpc_error(UnsupportedError(OFF))


def _status(regions: RegionTable, request: Any) -> dict[str, Any]:
    return regions_of_message(map(system_document, regions.system_regions(request.name)))


def _register(regions: RegionTable, request: Any) -> dict[str, Any]:
    regions.register_system(SystemRegion(request.name, request.key, request.offset, request.byte_size))
    return {}


def _unregister(regions: RegionTable, request: Any) -> dict[str, Any]:
    regions.unregister_system(request.name)
    return {}


def _cuda_status(regions: RegionTable, request: Any) -> dict[str, Any]:
    return regions_of_message(map(cuda_document, regions.cuda_regions(request.name)))


def _register_cuda(regions: RegionTable, request: Any) -> dict[str, Any]:
    regions.register_cuda(CudaRegion(request.name, request.raw_handle, request.device_id, request.byte_size))
    return {}


def _unregister_cuda(regions: RegionTable, request: Any) -> dict[str, Any]:
    regions.unregister_cuda(request.name)
    return {}
