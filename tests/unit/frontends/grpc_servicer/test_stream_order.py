"""Whatever wakes when: a stream's answers come in the order of its requests, those of decoupled models as they come."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.frontends.grpc_servicer.conftest import FakeModel, echo
from tritonclient.grpc import service_pb2 as triton

from atoll.errors import AtollError, ModelAsleepError, UnavailableError
from atoll.frontends.event_loop.waking import ATTEMPTS
from atoll.frontends.grpc.servicer import Servicer
from atoll.observability.tracing.tracer import Tracer
from atoll.request import InferenceRequest

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
WAIT_S = 20
NAMES = (
    "awake",
    "asleep",
    "asleep_twice",
    "never",
    "decoupled",
    "asleep_decoupled",
    "asleep_then_decoupled",
    "refused",
)


class SleepyEngine:
    """Models by the number of times that they have to be woken; `never` cannot be, `refused` refuses its requests."""

    def __init__(self) -> None:
        self.sleep = {"asleep": 1, "asleep_twice": 2, "never": 1, "asleep_decoupled": 1, "asleep_then_decoupled": 3}
        self.wakes: list[tuple[str, Callable[[AtollError | None], None]]] = []
        self.tracing = Tracer()

    def model(self, name: str, version: str = "") -> FakeModel:
        if self.sleep.get(name):
            raise ModelAsleepError(f"{name} is being loaded")
        return FakeModel(name, self._refuse if name == "refused" else self._answer, "decoupled" in name)

    @staticmethod
    def _answer(request: InferenceRequest) -> None:
        assert request.defer is not None
        request.defer(lambda: request.sender.send(echo(request), True))

    @staticmethod
    def _refuse(request: InferenceRequest) -> None:
        raise UnavailableError("refused")

    def wake(self, name: str, then: Callable[[AtollError | None], None]) -> None:
        self.wakes.append((name, then))

    def woken(self, number: int) -> None:
        name, then = self.wakes.pop(number % len(self.wakes))
        if name == "never":
            then(UnavailableError("never"))
            return
        self.sleep[name] -= 1
        then(None)


class FakeCall:
    """What a stream reads from and writes to."""

    metadata = ()
    buffered_bytes = 0
    cancelled = False

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.written: list[Any] = []

    def on_cancel(self, callback: Callable[[], object]) -> None:
        pass

    def write(self, message: Any) -> None:
        data = message if isinstance(message, bytes) else b"".join(message)
        self.written.append(triton.ModelStreamInferResponse.FromString(data))

    def __aiter__(self) -> "FakeCall":
        return self

    async def __anext__(self) -> bytes:
        message = await self.messages.get()
        if message is None:
            raise StopAsyncIteration
        return message


def message(number: int, model: str) -> bytes:
    request = triton.ModelInferRequest(model_name=model, id=f"{number} {model}")
    request.inputs.add(name="IN", datatype="FP32", shape=(1, 1))
    request.raw_input_contents.append(np.array([[number]], np.float32).tobytes())
    return request.SerializeToString()


async def converse(models: list[str], wakes: list[int]) -> list[str]:
    """Sends the requests, one to each of these models, waking in between and at the end; the ids as answered."""
    loop = asyncio.get_running_loop()
    engine, call = SleepyEngine(), FakeCall()
    serving = asyncio.ensure_future(Servicer(engine, loop).stream[STREAM](call))  # type: ignore[arg-type]
    turns = iter(wakes)

    async def wake_some() -> None:
        for _ in range(6):
            await asyncio.sleep(0)
        number = next(turns, -1)
        if number >= 0 and engine.wakes:
            engine.woken(number)

    for position, model in enumerate(models):
        call.messages.put_nowait(message(position, model))
        await wake_some()
    call.messages.put_nowait(None)
    async with asyncio.timeout(WAIT_S):
        while not serving.done():
            if engine.wakes:
                engine.woken(0)
            await asyncio.sleep(0)
    serving.result()
    for answer in call.written:
        if answer.infer_response.id.endswith(" never"):
            assert answer.error_message == "never"
    return [answer.infer_response.id for answer in call.written]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(NAMES), max_size=12), st.lists(st.integers(-1, 3), max_size=12))
def test_every_request_is_answered_once_and_in_its_turn(models: list[str], wakes: list[int]) -> None:
    assert ATTEMPTS > 3, "the models here are woken up to three times"
    ids = asyncio.run(converse(models, wakes))
    assert sorted(ids) == sorted(f"{position} {model}" for position, model in enumerate(models))
    in_turn = [int(one.split()[0]) for one in ids if "decoupled" not in one]
    assert in_turn == sorted(in_turn)
