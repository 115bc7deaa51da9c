"""Receivers for the tests."""

from collections.abc import Iterator

import pytest
from tests.telemetry.receiver import Receiver, running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that listens, for one test."""
    with running() as one:
        yield one
