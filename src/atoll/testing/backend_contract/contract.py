"""All parts of the suite in one class."""

from atoll.testing.backend_contract.datatypes import DatatypeContract
from atoll.testing.backend_contract.execution import ExecutionContract
from atoll.testing.backend_contract.files import FilesContract
from atoll.testing.backend_contract.loading import LoadingContract


class BackendContract(LoadingContract, FilesContract, DatatypeContract, ExecutionContract):
    """Subclass it, with a name that starts with Test, and fill in what `Declaration` has."""
