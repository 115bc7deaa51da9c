"""The suite that every backend of arrays passes: subclass BackendContract in a test file, and let pytest run it.

    class TestMine(BackendContract):
        backend = MyBackend

        def identity(self, folder, datatype, dims, batching): ...
        def sum_and_difference(self, folder, batching): ...

pytest must be installed where this is imported. docs/backends.md walks through an example.
"""

from pkgutil import iter_modules

import pytest

# so that what fails is shown with its values, as in anybody's own tests
pytest.register_assert_rewrite(*(f"{__name__}.{one.name}" for one in iter_modules(__path__)))

from atoll.testing.backend_contract.contract import BackendContract  # noqa: E402
from atoll.testing.backend_contract.declaration import FEATURES, ModelFiles  # noqa: E402

__all__ = ["FEATURES", "BackendContract", "ModelFiles"]
