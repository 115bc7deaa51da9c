"""All parts of the suite in one class."""

from atoll.testing.backend_contract.datatypes import DatatypeContract
from atoll.testing.backend_contract.loading import LoadingContract


class BackendContract(LoadingContract, DatatypeContract):
    """Subclass it, with a name that starts with Test, and fill in what `Declaration` has."""
