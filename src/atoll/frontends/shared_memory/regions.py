"""The regions that clients have registered, of both kinds, by name: one table for all event loops of a server."""

import threading
from collections.abc import Callable

from atoll.devices.cuda_driver import CudaDriver, cuda_driver
from atoll.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError, UnavailableError
from atoll.frontends.shared_memory.cuda import open_cuda_region
from atoll.frontends.shared_memory.system import MAPPED, open_region
from atoll.protocol.region_requests import CudaRegion, SystemRegion
from atoll.protocol.shared_memory import Region

MOST_REGIONS = 4096 if MAPPED else 256  # those that are not mapped hold a descriptor each
LONGEST_NAME = 1024  # characters
OFF = "clients may not share memory with this server: start it with --allow-client-shm=true to let them"


class RegionTable:
    """Thread-safe. A region that is unregistered lives on until the last request that uses it is answered."""

    def __init__(
        self, most: int = MOST_REGIONS, driver: Callable[[], CudaDriver] = cuda_driver, *, caching: bool = False
    ):
        """`caching`: the server keeps answers."""
        self.caching = caching
        self._most = most
        self._driver = driver
        self._lock = threading.Lock()  # of changes; requests look without it
        self._regions: dict[str, Region] = {}
        self._system: dict[str, SystemRegion] = {}
        self._cuda: dict[str, CudaRegion] = {}

    # ---- use

    def region(self, name: str) -> Region:
        """Raises NotFoundError, in the real server's words."""
        found = self._regions.get(name)
        if found is None:
            raise NotFoundError(f"Unable to find shared memory region: '{name}'")
        return found

    # ---- register

    def register_system(self, wanted: SystemRegion) -> None:
        """Raises AlreadyExistsError for a name of either kind, else as `open_region`; UnavailableError where there are
        too many.
        """
        with self._lock:
            self._admit(wanted.name)
            self._regions[wanted.name] = open_region(wanted)
            self._system[wanted.name] = wanted

    def register_cuda(self, wanted: CudaRegion) -> None:
        """May take seconds, the first time. Raises as `register_system`; InvalidArgumentError where there is no GPU."""
        with self._lock:
            self._admit(wanted.name)
        opened = open_cuda_region(wanted, self._driver)
        with self._lock:
            self._admit(wanted.name)  # others may have been quicker
            self._regions[wanted.name] = opened
            self._cuda[wanted.name] = wanted

    def _admit(self, name: str) -> None:
        if len(name) > LONGEST_NAME:
            raise InvalidArgumentError(
                f"the name of a shared memory region has {len(name)} characters: expected at most {LONGEST_NAME}"
            )
        if name in self._regions:
            raise AlreadyExistsError(f"shared memory region '{name}' already in manager")
        if len(self._regions) >= self._most:
            raise UnavailableError(
                f"{self._most} shared memory regions are registered, and that is the limit: unregister some first"
            )

    # ---- unregister

    def unregister_system(self, name: str = "") -> None:
        """ "" is all of this kind. A name that is not registered, or is of the other kind, is nothing to be done."""
        with self._lock:
            self._drop(self._system, name)

    def unregister_cuda(self, name: str = "") -> None:
        """The same for memory of GPUs."""
        with self._lock:
            self._drop(self._cuda, name)

    def _drop(self, kind: dict[str, SystemRegion] | dict[str, CudaRegion], name: str) -> None:
        for one in [name] if name else list(kind):
            if kind.pop(one, None) is not None:
                del self._regions[one]

    def close(self) -> None:
        """Forget all of them."""
        self.unregister_system()
        self.unregister_cuda()

    # ---- ask

    def system_regions(self, name: str = "") -> list[SystemRegion]:
        """By name; "" is all. Raises NotFoundError for a name that is not registered, or is of the other kind."""
        with self._lock:
            if not name:
                return sorted(self._system.values(), key=lambda one: one.name)
            if name in self._cuda:
                raise NotFoundError(
                    f"The region named '{name}' is registered as CUDA shared memory, not system shared memory"
                )
            if name not in self._system:
                raise NotFoundError(f"Unable to find system shared memory region: '{name}'")
            return [self._system[name]]

    def cuda_regions(self, name: str = "") -> list[CudaRegion]:
        """The same for memory of GPUs."""
        with self._lock:
            if not name:
                return sorted(self._cuda.values(), key=lambda one: one.name)
            if name in self._system:
                raise NotFoundError(
                    f"The region named '{name}' is registered as system shared memory, not CUDA shared memory"
                )
            if name not in self._cuda:
                raise NotFoundError(f"Unable to find cuda shared memory region: '{name}'")
            return [self._cuda[name]]
