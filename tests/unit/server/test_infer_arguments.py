"""What a Python caller says of waiting and of priorities: what cannot be meant is refused before anything is asked."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import atoll

ONES = {"IN": np.ones((1, 2), np.float32)}
TENSORS: dict[str, Any] = {"inputs": {"IN": ("FP32", [2])}, "outputs": {"OUT": ("FP32", [2])}}


@pytest.fixture
def server() -> Iterator[atoll.Server]:
    with atoll.Server() as running:
        running.add_model("f", lambda IN: IN, batching=True, **TENSORS)  # noqa: N803
        yield running


@pytest.mark.parametrize("timeout", [-1, -0.1, float("nan"), "1", float("-inf")])
def test_a_timeout_that_is_none(server: atoll.Server, timeout: Any) -> None:
    with pytest.raises(atoll.InvalidArgumentError, match="timeout is"):
        server.infer("f", ONES, timeout=timeout)
    assert server.in_flight() == 0


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 60, None])
def test_a_timeout_that_never_comes(server: atoll.Server, timeout: float | None) -> None:
    assert server.infer("f", ONES, timeout=timeout)["OUT"].tolist() == [[1, 1]]


@pytest.mark.parametrize("priority", [-1, 1.5, "1", 1 << 64, None])
async def test_a_priority_that_is_none(server: atoll.Server, priority: Any) -> None:
    with pytest.raises(atoll.InvalidArgumentError, match="priority is"):
        server.infer("f", ONES, priority=priority)
    with pytest.raises(atoll.InvalidArgumentError, match="priority is"):
        await server.async_infer("f", ONES, priority=priority)
    assert server.in_flight() == 0
