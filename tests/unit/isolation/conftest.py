"""What tests of child processes share."""

from collections.abc import Iterator

import pytest
from tests.unit.isolation.children import Nursery


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    """Starts children; none of them outlives the test."""
    it = Nursery()
    yield it
    it.close()
