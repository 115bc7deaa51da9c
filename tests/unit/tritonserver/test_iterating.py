"""Inference of the in-process API: iterators on threads and event loops, errors, cancellation, queues."""

import asyncio
import gc
import pickle
import queue
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.server.python_repository import eventually

from atoll import tritonserver as ts
from atoll.tritonserver.memory import host_buffer

ONE = np.array([1], np.float32)


def values(responses: Any) -> list[list[float]]:
    return [np.from_dlpack(one.outputs["OUT"]).tolist() for one in responses if one.outputs]


async def async_values(responses: Any) -> list[list[float]]:
    return values([one async for one in responses])


@pytest.mark.parametrize(
    "given",
    [
        ONE,
        [1.0],
        (1,),
        ts.Tensor.from_dlpack(ONE),
        type("Foreign", (), {"__dlpack__": lambda _: ONE.__dlpack__()})(),
    ],
    ids=["array", "list", "tuple", "tensor", "foreign"],
)
def test_inputs_come_in_many_forms(server: ts.Server, given: Any) -> None:
    (response,) = server.model("twice").infer(inputs={"IN": given}, request_id="7")
    assert (response.final, response.request_id, response.model.name) == (True, "7", "twice")
    assert values([response]) == [[2.0]]


@pytest.mark.parametrize("given", ["text", b"bytes", 3, None, {1: 2}])
def test_what_is_no_input_is_said(server: ts.Server, given: Any) -> None:
    with pytest.raises(ts.InvalidArgumentError, match=r"Input type .* not supported: input 'IN'"):
        server.model("twice").infer(inputs={"IN": given})


def test_a_request_may_be_sent_again_and_again(server: ts.Server) -> None:
    model = server.model("twice")
    request = model.create_request(inputs={"IN": ONE}, request_id="again")
    for _ in range(3):
        assert values(model.infer(request)) == [[2.0]]
    request.inputs = {"IN": ONE * 4}
    assert values(model.infer(request)) == [[8.0]]
    with pytest.raises(ts.InvalidArgumentError, match=r"give a request, or its fields \(inputs\), and not both"):
        model.infer(request, inputs={})


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_decoupled_models_responses_come_in_order_and_end(server: ts.Server, count: int) -> None:
    responses = server.model("count").infer(inputs={"IN": ONE * count})
    found = list(responses)
    assert values(found) == [[float(index)] for index in range(count)]
    assert [one.final for one in found] == [False] * count + [True]
    assert list(responses) == []


async def test_a_loop_gets_the_same(server: ts.Server) -> None:
    model = server.model("count")
    streams = [async_values(model.async_infer(inputs={"IN": ONE * count})) for count in range(8)]
    assert await asyncio.gather(*streams) == [[[float(i)] for i in range(count)] for count in range(8)]
    assert await async_values(server.model("twice").async_infer(inputs={"IN": ONE})) == [[2.0]]


def test_many_loops_and_threads_use_one_server(server: ts.Server) -> None:
    async def on_loop(number: int) -> list[Any]:
        streams = [async_values(server.model("count").async_infer(inputs={"IN": ONE * number})) for _ in range(5)]
        return await asyncio.gather(*streams)

    def loop(number: int) -> Any:
        return asyncio.run(on_loop(number))

    def thread(number: int) -> Any:
        return [values(server.model("count").infer(inputs={"IN": ONE * number})) for _ in range(5)]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: (loop if n % 2 else thread)(n), range(8)))
    assert found == [[[[float(i)] for i in range(n)]] * 5 for n in range(8)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=12))
def test_every_stream_ends_once_with_a_beginning_of_its_values(
    server: ts.Server, streams: list[tuple[int, int]]
) -> None:
    """`streams`: how many values each has, and after how many responses it is cancelled."""
    model = server.model("count")
    begun = [model.infer(inputs={"IN": ONE * count}, raise_on_error=False) for count, _ in streams]
    for (count, patience), responses in zip(streams, begun, strict=True):
        found = []
        for response in responses:
            found.append(response)
            if len(found) == patience:
                responses.cancel()
        assert [one.final for one in found] == [False] * (len(found) - 1) + [True]
        came = [value for (value,) in values(found)]
        assert came == [float(index) for index in range(len(came))]
        assert len(came) == count or patience <= count


def test_an_iterator_needs_a_loop(server: ts.Server) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        server.model("twice").async_infer(inputs={"IN": ONE})


def test_errors_are_raised_or_given(server: ts.Server) -> None:
    model = server.model("fail")
    with pytest.raises(ts.InternalError, match="told to"):
        list(model.infer(inputs={"IN": ONE}))
    (response,) = model.infer(inputs={"IN": ONE}, raise_on_error=False)
    assert isinstance(response.error, ts.InternalError)
    assert (response.final, response.outputs) == (True, {})


async def test_a_loop_gets_errors_too(server: ts.Server) -> None:
    with pytest.raises(ts.TritonError, match="told to"):
        await async_values(server.model("fail").async_infer(inputs={"IN": ONE}))
    with pytest.raises(ts.NotFoundError, match="unknown model: 'no'"):
        server.model("no").async_infer(inputs={"IN": ONE})


def test_cancelling_ends_a_stream(server: ts.Server) -> None:
    responses = server.model("forever").infer(inputs={"IN": ONE}, raise_on_error=False)
    assert values([next(responses)]) == [[1.0]]
    responses.cancel()
    last = list(responses)[-1]
    assert last.final
    responses.cancel()  # does nothing


async def test_cancelling_ends_a_stream_of_a_loop(server: ts.Server) -> None:
    responses = server.model("forever").async_infer(inputs={"IN": ONE}, raise_on_error=False)
    async for response in responses:
        if response.outputs:
            responses.cancel()
    assert response.final


def test_one_thread_cancels_what_another_waits_for(server: ts.Server) -> None:
    responses = server.model("forever").infer(inputs={"IN": ONE}, raise_on_error=False)
    found: list[ts.InferenceResponse] = []

    def wait() -> None:
        for response in responses:
            found.append(response)  # noqa: PERF402 - it is looked at meanwhile

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: found, "a response")
    responses.cancel()
    waiting.join(60)
    assert not waiting.is_alive()
    assert found[-1].final


def test_a_queue_of_the_callers_gets_every_response(server: ts.Server) -> None:
    given: queue.SimpleQueue[Any] = queue.SimpleQueue()
    responses = server.model("count").infer(inputs={"IN": ONE * 3}, response_queue=given)
    assert [given.get(timeout=60) for _ in range(4)] == list(responses)
    with pytest.raises(ts.UnavailableError, match=r"asyncio\.Queue; use async_infer"):
        server.model("count").infer(inputs={"IN": ONE}, response_queue=asyncio.Queue())


async def test_a_loops_queue_gets_every_response(server: ts.Server) -> None:
    given: asyncio.Queue[Any] = asyncio.Queue()
    responses = server.model("count").async_infer(inputs={"IN": ONE * 3}, response_queue=given)
    found = [one async for one in responses]
    assert [given.get_nowait() for _ in range(4)] == found


def test_a_full_queue_costs_the_iterator_nothing(server: ts.Server) -> None:
    full: Any = queue.Queue(1)
    responses = server.model("count").infer(inputs={"IN": ONE * 3}, response_queue=full)
    assert len(list(responses)) == 4
    assert full.qsize() == 1
    broken: Any = type("Broken", (), {"put_nowait": lambda *_: 1 / 0})()
    assert len(list(server.model("count").infer(inputs={"IN": ONE * 3}, response_queue=broken))) == 4


def test_facts_of_a_request_reach_the_model(server: ts.Server) -> None:
    model = server.model("facts")
    (response,) = model.infer(inputs={"IN": ONE}, timeout=5_000_000, correlation_id=9, flags=3, priority=2)
    assert values([response]) == [[5_000_000.0, 9.0, 3.0]]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"timeout": -1}, "timeout is -1"),
        ({"priority": 2**64}, "priority is 18446744073709551616"),
        ({"flags": "start"}, "flags is 'start'"),
        ({"correlation_id": -4}, "correlation_id is -4"),
        ({"parameters": {"a": None}}, "parameter 'a' is None"),
        ({"parameters": {"sequence_id": 5}}, "use its field correlation_id"),
        ({"output_memory_type": "gpu"}, "outputs are given in host memory"),
        ({"output_memory_type": 5}, "Invalid memory type"),
    ],
)
def test_what_cannot_be_meant_is_refused(server: ts.Server, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ts.TritonError, match=reason):
        server.model("facts").infer(inputs={"IN": ONE}, **fields)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        server.model("facts").infer(inputs={"IN": ONE}, outputs=["OUT"])


class Rooms(ts.MemoryAllocator):
    """Remembers what it gave, or fails."""

    def __init__(self, fails: bool = False):
        self.given: list[Any] = []
        self.fails = fails

    def allocate(self, size: int, memory_type: ts.MemoryType, memory_type_id: int, tensor_name: str) -> ts.MemoryBuffer:
        if self.fails:
            raise MemoryError("no room")
        self.given.append(np.zeros(size, np.uint8))
        return host_buffer(self.given[-1])


def test_outputs_go_where_the_caller_wants_them(server: ts.Server) -> None:
    rooms = Rooms()
    (response,) = server.model("twice").infer(inputs={"IN": ONE}, output_memory_allocator=rooms)
    assert response.outputs["OUT"].data_ptr == rooms.given[0].ctypes.data
    assert rooms.given[0].view(np.float32).tolist() == [2.0]
    with pytest.raises(ts.InternalError, match="MemoryError: no room"):
        list(server.model("twice").infer(inputs={"IN": ONE}, output_memory_allocator=Rooms(fails=True)))


@pytest.mark.parametrize("model", ["twice", "fail", "count"])
def test_nothing_waits_for_the_garbage_collector(server: ts.Server, model: str) -> None:
    """What a request was made of goes with its responses."""

    def ask() -> "weakref.ref[Any]":
        room = type("Room", (bytearray,), {})(np.float32(3).tobytes())
        responses = server.model(model).infer(inputs={"IN": np.frombuffer(room, np.float32)})
        try:
            for _ in responses:
                pass
        except ts.InternalError:
            pass
        return weakref.ref(room)

    ask()
    gc.collect()
    gc.disable()
    try:
        gone = [ask() for _ in range(3)]
        eventually(lambda: all(one() is None for one in gone), "the arrays to go without the collector")
    finally:
        gc.enable()


def test_an_iterator_that_nobody_reads_is_no_leak(server: ts.Server) -> None:
    gone = [weakref.ref(server.model("count").infer(inputs={"IN": ONE * 5})) for _ in range(20)]
    eventually(lambda: server.engine.in_flight() == 0, "all to be answered")
    eventually(lambda: not any(one() for one in gone), "the iterators to go")


def test_what_stands_for_a_request_is_not_sent_to_other_processes(server: ts.Server) -> None:
    model = server.model("twice")
    responses = model.infer(inputs={"IN": ONE})
    for one in (server, model, responses, next(responses), model.create_request(inputs={})):
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(one)
