"""All parts of the suite in one class."""

from atoll.testing.backend_contract.datatypes import DatatypeContract
from atoll.testing.backend_contract.execution import ExecutionContract
from atoll.testing.backend_contract.files import FilesContract
from atoll.testing.backend_contract.loading import LoadingContract
from atoll.testing.backend_contract.memory import MemoryContract
from atoll.testing.backend_contract.processes import ProcessContract
from atoll.testing.backend_contract.serving import ServingContract
from atoll.testing.backend_contract.threads import ThreadsContract


class BackendContract(
    LoadingContract,
    FilesContract,
    DatatypeContract,
    ExecutionContract,
    ServingContract,
    ThreadsContract,
    MemoryContract,
    ProcessContract,
):
    """Subclass it, with a name that starts with Test, and fill in what `Declaration` has."""
