"""What all child processes of one server share: who watches them, and who reads their answers."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from atoll.isolation.readers import EventLoop, Readers
from atoll.isolation.shared_files import sweep
from atoll.isolation.supervisor import Supervisor

logger = logging.getLogger(__name__)

CONTROL_THREADS = 4  # that load and unload models which other models ask for


class Processes:
    """Owned by a server. Nothing of it runs before the first child; `close` ends all of it. Thread-safe."""

    def __init__(self) -> None:
        self.readers = Readers()
        self._supervisor: Supervisor | None = None
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._swept: set[str] = set()

    @property
    def supervisor(self) -> Supervisor:
        """Who watches the children."""
        with self._lock:
            if self._supervisor is None:
                self._supervisor = Supervisor()
            return self._supervisor

    def lend(self, loop: EventLoop) -> bool:
        """See `Readers.lend`."""
        return self.readers.lend(loop)

    def take_back(self, loop: EventLoop) -> None:
        """See `Readers.take_back`."""
        self.readers.take_back(loop)

    def executor(self) -> ThreadPoolExecutor:
        """For what models ask and takes long."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(CONTROL_THREADS, thread_name_prefix="asked by models")
            return self._executor

    def sweep(self, prefix: str) -> None:
        """Remove what servers that were killed have left in shared memory under this prefix, once."""
        with self._lock:
            if prefix in self._swept:
                return
            self._swept.add(prefix)
        for name in sweep(prefix):
            logger.info("removed shared memory '%s' of a process that is gone", name)

    def close(self) -> None:
        """End what is left. Calling it again does nothing."""
        if self._supervisor is not None:
            self._supervisor.close()
        self.readers.close()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
