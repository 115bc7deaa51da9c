"""What a failed request was made of goes when its error does: nothing waits for the garbage collector."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.unit.server.python_repository import write_python
from tests.unit.server.test_ensembles_served import THREAD, chain, write_ensemble

import atoll
from atoll.errors import AtollError, InvalidArgumentError

TENSORS: dict[str, Any] = {"inputs": {"IN": ("FP32", [-1])}, "outputs": {"OUT": ("FP32", [-1])}}
FAIL = """
def each(request):
    raise ValueError("told to")
"""
Ask = Callable[[atoll.Server, str, Any], object]


def refuse(IN: Any) -> Any:  # noqa: N803
    raise InvalidArgumentError("told to")


def fail(IN: Any) -> Any:  # noqa: N803
    raise ValueError("told to")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[atoll.Server]:
    repository = tmp_path_factory.mktemp("failures")
    write_python(repository, "python", FAIL, parameters=THREAD)
    write_ensemble(repository, "ensemble", chain("python", "python"))
    made = atoll.Server(repository)
    made.add_model("refuse", refuse, **TENSORS)
    made.add_model("fail", fail, **TENSORS)
    made.add_model("ask", lambda IN: made.infer("ensemble", {"IN": IN})["OUT"], **TENSORS)  # noqa: N803
    with made:
        yield made


def infer(server: atoll.Server, model: str, array: Any) -> None:
    with pytest.raises(AtollError, match=r"told to|more than --model-memory-budget"):
        server.infer(model, {"IN": array})


def async_infer(server: atoll.Server, model: str, array: Any) -> None:
    async def asked() -> None:
        with pytest.raises(AtollError, match=r"told to|more than --model-memory-budget"):
            await server.async_infer(model, {"IN": array})

    asyncio.run(asked())


@pytest.fixture
def no_log() -> Iterator[None]:
    """What pytest keeps of the log has errors with all that they hold."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[atoll.Server]:
    """A server whose memory budget no process fits into."""
    repository = tmp_path_factory.mktemp("small")
    write_python(repository, "large", FAIL)
    write_ensemble(repository, "of_large", chain("large"))
    with atoll.Server(repository, model_memory_budget="64KiB") as made:
        yield made


@pytest.mark.usefixtures("no_log")
@pytest.mark.parametrize("ask", [infer, async_infer])
@pytest.mark.parametrize("model", ["refuse", "fail", "python", "ensemble", "ask"])
def test_the_arrays_of_a_failed_request_are_freed_at_once(server: atoll.Server, model: str, ask: Ask) -> None:
    assert_nothing_is_left(server, model, ask)


@pytest.mark.usefixtures("no_log")
@pytest.mark.parametrize("ask", [infer, async_infer])
@pytest.mark.parametrize("model", ["large", "of_large"])
def test_so_they_are_where_a_model_cannot_be_loaded(small: atoll.Server, model: str, ask: Ask) -> None:
    assert_nothing_is_left(small, model, ask)


def assert_nothing_is_left(server: atoll.Server, model: str, ask: Ask) -> None:
    array = np.ones(2, np.float32)
    known = weakref.ref(array)
    gc.collect()
    gc.disable()
    try:
        ask(server, model, array)
        del array
        for _ in range(1000):  # the instance's thread may have it for a moment
            if known() is None:
                break
            threading.Event().wait(0.001)
        assert known() is None
    finally:
        gc.enable()
