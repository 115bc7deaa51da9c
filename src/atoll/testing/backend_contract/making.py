"""The fixtures and short ways that all parts of the suite share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from atoll.server import Server
from atoll.tensor import Array
from atoll.testing.backend_contract.declaration import Declaration
from atoll.testing.backend_contract.workshop import MadeModel, Workshop

FOUR = (4,)


def rows(count: int) -> Array:
    """So many rows of four FP32 numbers, each different."""
    return np.arange(4 * count, dtype=np.float32).reshape(count, 4)


class Making(Declaration):
    """A declaration with a workshop, in which the models that it makes are."""

    @pytest.fixture(scope="class")
    @classmethod
    def workshop(cls, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
        """Keeps the models of this class."""
        return Workshop(cls.backend.name, cls.settings, tmp_path_factory.mktemp(cls.backend.name))

    @pytest.fixture(scope="class")
    @classmethod
    def repository(cls, workshop: Workshop) -> Path:
        """The repository of `server`, into which tests put models, each under a name of its own."""
        path = workshop.folder()
        path.mkdir()
        return path

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, workshop: Workshop, repository: Path) -> Iterator[Server]:
        """One server for the tests of the class; each loads its models, and unloads them."""
        with workshop.server(repository) as running:
            yield running

    def identity_model(
        self, workshop: Workshop, datatype: str = "FP32", dims: tuple[int, ...] = FOUR, batching: bool | None = None
    ) -> MadeModel:
        """What the maker `identity` writes; with a batch dimension if it can, unless the test says."""
        batching = "batching" not in self.cannot if batching is None else batching
        self.needs(datatype, *(["batching"] if batching else []))
        if not dims:
            self.needs("scalars")
        if -1 in dims:
            self.needs("variable dims")
        key = ("identity", datatype, dims, batching)
        return workshop.make(
            key, lambda folder: self.identity(folder, datatype, dims, batching), (datatype, dims), batching
        )

    def sum_model(self, workshop: Workshop, batching: bool | None = None) -> MadeModel:
        """What the maker `sum_and_difference` writes."""
        batching = "batching" not in self.cannot if batching is None else batching
        self.needs("several outputs", "FP32", *(["batching"] if batching else []))
        key = ("sum", batching)
        return workshop.make(key, lambda folder: self.sum_and_difference(folder, batching), ("FP32", FOUR), batching)
