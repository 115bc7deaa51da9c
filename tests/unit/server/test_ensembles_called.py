"""Ensembles that are called by models' own code, which waits for their answers on the thread that drives it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.unit.server.python_repository import PATIENCE_S, ask, write_python
from tests.unit.server.test_ensembles_served import ADD, THREAD, chain, write_doubler, write_ensemble

import atoll
from atoll.execution.driving import PROOF

TENSORS: dict[str, Any] = {"inputs": {"IN": ("FP32", [-1])}, "outputs": {"OUT": ("FP32", [-1])}}
CALL = """
def each(request):
    asked = pb.InferenceRequest(
        model_name="onnx", requested_output_names=["OUT"], inputs=[pb.Tensor("IN", value(request))]
    )
    answered = asked.exec()
    if answered.has_error():
        raise pb.TritonModelException(answered.error().message())
    return answer(pb.get_output_tensor_by_name(answered, "OUT").as_numpy())
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[atoll.Server]:
    write_python(tmp_path, "add_here", ADD, parameters=THREAD)
    write_python(tmp_path, "call_here", CALL, parameters=THREAD)
    write_doubler(tmp_path)
    write_ensemble(tmp_path, "onnx", chain("double", "double"))
    write_ensemble(tmp_path, "python", chain("add_here", "add_here"))
    write_ensemble(tmp_path, "calling", chain("call_here", "double"))
    write_ensemble(tmp_path, "around", chain("call", "double"))
    made = atoll.Server(tmp_path)
    made.add_model("call", calling(made, "onnx"), **TENSORS)
    with made:
        for _ in range(PROOF + 1):  # from now on whoever submits a request drives it
            ask(made, "double", [1])
        yield made


def calling(server: atoll.Server, name: str) -> Callable[..., Any]:
    def function(IN: Any) -> Any:  # noqa: N803
        return server.infer(name, {"IN": IN}, timeout=PATIENCE_S / 2)["OUT"]

    return function


def calling_on_a_loop(server: atoll.Server, name: str) -> Callable[..., Any]:
    def function(IN: Any) -> Any:  # noqa: N803
        async def both() -> list[Any]:
            answers = await asyncio.gather(*(server.async_infer(name, {"IN": IN}) for _ in range(2)))
            return [one["OUT"] for one in answers]

        return asyncio.run(asyncio.wait_for(both(), PATIENCE_S / 2))[1]

    return function


def test_a_function_waits_for_an_ensemble(server: atoll.Server) -> None:
    assert ask(server, "call", [3]) == 12


def test_a_step_waits_for_an_ensemble(server: atoll.Server) -> None:
    assert ask(server, "around", [3]) == 24
    assert ask(server, "calling", [3]) == 24


def test_a_function_awaits_an_ensemble(server: atoll.Server) -> None:
    server.add_model("await", calling_on_a_loop(server, "onnx"), **TENSORS)
    assert ask(server, "await", [3]) == 12


def test_many_functions_wait_for_ensembles_of_python_models(server: atoll.Server) -> None:
    server.add_model("many", calling(server, "python"), instances=4, **TENSORS)
    begun = threading.Barrier(4)

    def client(number: int) -> list[float]:
        begun.wait(PATIENCE_S)
        return [ask(server, "many", [number]) for _ in range(20)]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(client, range(4)))
    assert answers == [[number + 2.0] * 20 for number in range(4)]
