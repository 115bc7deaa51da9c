"""Python models served through the library, in processes of their own and in threads: tensors, calls, streams, ends."""

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.unit.server.python_repository import (
    PATIENCE_S,
    Asked,
    ask,
    eventually,
    nothing_left,
    serving,
    write_python,
)

import atoll

pytestmark = pytest.mark.slow  # each test starts processes

BIG = 4 << 20  # elements: 16 MB
PLACEMENTS = ("process", "thread")

DOUBLE = "def each(request):\n    return answer(value(request) * 2)"
ECHO = "def each(request):\n    return answer(value(request))"
# What the model keeps of a request, it may change later: nobody else may see that.
KEEPER = """
class TritonPythonModel:
    def initialize(self, args):
        self.kept = None
    def execute(self, requests):
        answers = []
        for request in requests:
            if self.kept is not None and self.kept.size == value(request).size:
                self.kept += value(request)
            else:
                self.kept = value(request)
            answers.append(answer(self.kept))
        return answers
"""
REUSER = """
class TritonPythonModel:
    def initialize(self, args):
        self.buffer = np.empty(1 << 22, np.float32)
    def execute(self, requests):
        answers = []
        for request in requests:
            array = value(request)
            np.multiply(array, 3, out=self.buffer[: array.size])
            answers.append(answer(self.buffer[: array.size]))
        return answers
"""
STREAM = """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = int(value(request)[0])
            for number in range(count):
                sender.send(answer(np.full(20000 if number % 2 else 1, number, np.float32)))
            sender.send(flags=FINAL)
"""
CALLER = """
def each(request):
    array = value(request)
    if array[0] <= 0:
        return answer(array)
    return answer(out(call(OTHER, array - 1).exec()) + 1)
"""


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


def full(size: int, value: float) -> np.ndarray:
    return np.full(size, value, np.float32)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_big_tensors_both_ways(tmp_path: Path, placement: str) -> None:
    parameters = {"isolation": placement}
    for name, code in (("double", DOUBLE), ("echo", ECHO), ("reuser", REUSER), ("keeper", KEEPER)):
        write_python(tmp_path, name, code, parameters=parameters)
    with serving(tmp_path) as server:
        for size in (1, 0, 5000, 16384, BIG):
            results = []
            for number in range(1, 4):
                sent = full(size, number)
                for name, factor in (("double", 2), ("echo", 1), ("reuser", 3)):
                    results.append((server.infer(name, {"IN": sent})["OUT"], number * factor))
                assert (sent == number).all()
            for array, expected in results:  # also the first ones are still what they were
                assert array.shape == (size,)
                assert (array == expected).all()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_a_model_keeps_and_changes_was_not_lent(tmp_path: Path, placement: str) -> None:
    write_python(tmp_path, "keeper", KEEPER, parameters={"isolation": placement})
    with serving(tmp_path) as server:
        for size in (100, 20000, 1 << 20):
            sent = full(size, 1)
            answers = [server.infer("keeper", {"IN": sent})["OUT"] for _ in range(3)]
            assert (sent == 1).all()
            assert [float(one[-1]) for one in answers] == [1, 2, 3]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_many_at_once_and_several_instances(tmp_path: Path, placement: str) -> None:
    write_python(tmp_path, "double", DOUBLE, instances=2, parameters={"isolation": placement})
    with serving(tmp_path) as server:
        asked = [Asked(server, "double", full(1 + 7000 * (n % 3), n)) for n in range(300)]
        assert [one.values for one in asked] == [[2 * n] for n in range(300)]
        assert server.in_flight() == 0
        [statistics] = server.statistics("double")
        assert statistics.inference_count == 300


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_stream_with_a_slow_reader(tmp_path: Path, placement: str) -> None:
    write_python(tmp_path, "stream", STREAM, decoupled=True, parameters={"isolation": placement})
    with serving(tmp_path) as server:
        slow = Asked(server, "stream", [200])
        slow.on_response = lambda: time.sleep(0.0005)
        quick = Asked(server, "stream", [3])
        none = Asked(server, "stream", [0])
        assert slow.values == list(range(200))
        assert quick.values == [0, 1, 2]
        assert none.values == []
        assert server.in_flight() == 0


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_response_is_there_before_the_model_goes_on(tmp_path: Path, placement: str) -> None:
    code = """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            sender.send(answer(np.ones(1, np.float32)))
            while not os.path.exists(NOTES):
                time.sleep(0.001)
            sender.send(flags=FINAL)
"""
    notes = write_python(tmp_path, "waits", code, decoupled=True, parameters={"isolation": placement})
    with serving(tmp_path) as server:
        asked = Asked(server, "waits", [1]).wait(count=1)
        assert not asked.finals
        notes.touch()
        assert asked.values == [1]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind", ["sync", "async", "decoupled"])
def test_a_cancelled_request_says_so_to_its_model(tmp_path: Path, placement: str, kind: str) -> None:
    code = {
        "sync": """
def each(request):
    note(NOTES, "b")
    while not request.is_cancelled():
        time.sleep(0.001)
    return pb.InferenceResponse([], pb.TritonError("withdrawn", pb.TritonError.CANCELLED))
""",
        "async": """
class TritonPythonModel:
    async def execute(self, requests):
        note(NOTES, "b")
        while not all(request.is_cancelled() for request in requests):
            await asyncio.sleep(0.001)
        return [pb.InferenceResponse([], pb.TritonError("withdrawn", pb.TritonError.CANCELLED)) for _ in requests]
""",
        "decoupled": """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.run, args=(request.get_response_sender(),)).start()
        note(NOTES, "b" * len(requests))
    def run(self, sender):
        while not sender.is_cancelled():
            time.sleep(0.001)
        sender.send(pb.InferenceResponse([], pb.TritonError("withdrawn", pb.TritonError.CANCELLED)), FINAL)
""",
    }[kind]
    notes = write_python(tmp_path, "m", code, decoupled=kind == "decoupled", parameters={"isolation": placement})
    with serving(tmp_path) as server:
        first, second = Asked(server, "m", [1]), Asked(server, "m", [2])
        eventually(notes.exists, "the model runs")
        second.request.cancel()  # which may still be queued
        first.request.cancel()
        assert first.error == "withdrawn"
        assert second.error in ("withdrawn", "request was cancelled before it was executed")
        first.request.cancel()  # too late, and of no effect
        assert server.in_flight() == 0


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_calls_between_two_models_many_deep_and_at_once(tmp_path: Path, placement: str) -> None:
    for name, other in (("ping", "pong"), ("pong", "ping")):
        write_python(tmp_path, name, f"OTHER = {other!r}\n" + CALLER, instances=3, parameters={"isolation": placement})
    with serving(tmp_path) as server:
        # Each level waits in an instance: three levels of one request at a time never run out of them.
        assert ask(server, "ping", [4]) == 4
        shallow = [Asked(server, "ping" if n % 2 else "pong", full(1 + 9000 * (n % 2), 0)) for n in range(200)]
        assert all(one.values == [0] for one in shallow)
        for _ in range(20):
            assert ask(server, "pong", full(10000, 2)) == 2
        assert server.in_flight() == 0


def test_asynchronous_models_call_each_other_hundreds_of_times_at_once(tmp_path: Path) -> None:
    code = """
class TritonPythonModel:
    async def execute(self, requests):
        async def one(request):
            array = value(request)
            if array[0] <= 0:
                return answer(array)
            calls = [call(OTHER, array - 1).async_exec() for _ in range(2)]
            return answer(sum([out(await one) for one in calls]) / 2 + 1)
        return await asyncio.gather(*[one(request) for request in requests])
"""
    for name, other in (("ping", "pong"), ("pong", "ping")):
        write_python(tmp_path, name, f"OTHER = {other!r}\n" + code, parameters={"max_concurrent_executions": 4096})
    with serving(tmp_path) as server:
        asked = [Asked(server, "ping", full(9000 if n % 4 == 0 else 2, 3)) for n in range(40)]
        assert [one.values for one in asked] == [[3]] * 40
        assert server.in_flight() == 0


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_calls_from_threads_and_from_loops_of_a_model(tmp_path: Path, placement: str) -> None:
    code = """
def in_threads(array, results):
    def run():
        for _ in range(5):
            results.append(out(call("double", array).exec())[0])
    threads = [threading.Thread(target=run) for _ in range(4)]
    for one in threads: one.start()
    for one in threads: one.join()
async def in_loop(array):
    answers = await asyncio.gather(*[call("double", array).async_exec() for _ in range(5)])
    return [out(one)[0] for one in answers]
def each(request):
    array = value(request)
    results = []
    in_threads(array, results)
    results += asyncio.run(in_loop(array))
    results += asyncio.run(in_loop(array))
    results.append(out(call("double", array).exec())[0])
    assert len(results) == 31 and set(results) == {2 * array[0]}, results
    return answer(array)
"""
    parameters = {"isolation": placement}
    write_python(tmp_path, "double", DOUBLE, instances=2, parameters=parameters)
    write_python(tmp_path, "caller", code, instances=2, parameters=parameters)
    with serving(tmp_path) as server:
        asked = [Asked(server, "caller", full(12000 if n % 2 else 3, n)) for n in range(6)]
        assert [one.values for one in asked] == [[n] for n in range(6)]


def test_a_block_that_a_model_in_the_server_sends_back_is_still_there(tmp_path: Path) -> None:
    """The caller's own memory comes back to it, named by the answer, and is freed by the same breath."""
    write_python(tmp_path, "echo", ECHO, parameters={"isolation": "thread"})
    code = """
def each(request):
    return answer(out(call("echo", value(request) + 1).exec()))
"""
    write_python(tmp_path, "caller", code)
    with serving(tmp_path) as server:
        for number in range(30):
            assert ask(server, "caller", full(50000, number)) == number + 1


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_model_that_awaits_what_is_cancelled_goes_on(tmp_path: Path, placement: str) -> None:
    code = """
class TritonPythonModel:
    async def execute(self, requests):
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task
"""
    parameters = {"isolation": placement, "max_concurrent_executions": 2}
    write_python(tmp_path, "m", code, parameters=parameters)
    with serving(tmp_path) as server:
        for _ in range(5):
            assert "CancelledError" in Asked(server, "m", [1]).error


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_requests_that_are_scheduled_again(tmp_path: Path, placement: str) -> None:
    code = """
class TritonPythonModel:
    def initialize(self, args):
        self.turns = {}
    def execute(self, requests):
        answers = []
        for request in requests:
            turn = self.turns[request.request_id()] = self.turns.get(request.request_id(), 0) + 1
            if turn < 4:
                request.set_release_flags(pb.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
                answers.append(None)
            else:
                answers.append(answer(value(request) + turn))
        return answers
"""
    write_python(tmp_path, "m", code, parameters={"isolation": placement})
    with serving(tmp_path) as server:
        asked = [Asked(server, "m", full(9000, n), str(n)) for n in range(20)]
        assert [one.values for one in asked] == [[n + 4] for n in range(20)]
        assert server.in_flight() == 0


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_unloaded_and_loaded_anew_under_load(tmp_path: Path, placement: str) -> None:
    write_python(tmp_path, "m", DOUBLE, instances=2, parameters={"isolation": placement})
    with serving(tmp_path, model_control_mode="explicit", load_model=("m",)) as server:
        failures: list[str] = []
        done = threading.Event()
        asked = 0

        def load() -> None:
            nonlocal asked
            while not done.is_set():
                try:
                    if ask(server, "m", [asked]) != 2 * asked:
                        failures.append(f"{asked}: wrong")
                except atoll.AtollError as error:
                    failures.append(str(error))
                asked += 1

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for number in range(3):
                write_python(
                    tmp_path, "m", f"# {number}\n" + DOUBLE, instances=1 + number, parameters={"isolation": placement}
                )
                server.load_model("m")
                target = asked + 5
                while asked < target and thread.is_alive():
                    time.sleep(0.001)
        finally:
            done.set()
            thread.join(PATIENCE_S)
        assert not failures
        slow = Asked(server, "m", full(1 << 20, 1))
        server.unload_model("m")
        assert slow.values == [2]
        with pytest.raises(atoll.AtollError):
            ask(server, "m", [1])


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_is_left_when_the_server_stops_is_answered(tmp_path: Path, placement: str) -> None:
    """A model that does not come back, queued requests behind it, and a drain that is not long enough."""
    code = """
def each(request):
    note(NOTES, "b")
    while not os.path.exists(NOTES + "2"):
        time.sleep(0.001)
    return answer(value(request))
"""
    notes = write_python(tmp_path, "m", code, parameters={"isolation": placement})
    server = serving(tmp_path).start()
    asked = [Asked(server, "m", [n]) for n in range(3)]
    eventually(notes.exists, "the model runs")
    server.stop(timeout=0)
    assert all("stop" in one.error for one in asked)
    notes.with_name("notes2").touch()  # for the thread: nobody can end it


@pytest.mark.parametrize("side", ["server", "child", "both"])
def test_without_shared_memory_tensors_travel_in_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    """Both ways at once, past others that wait for theirs."""
    code = DOUBLE
    if side != "server":  # the arena asks in vain, as where neither /dev/shm nor files in memory can be had
        code = "from atoll.isolation.arena import Arena\nArena._grow = lambda self, byte_size: None\n" + DOUBLE
    if side != "child":
        monkeypatch.setattr("atoll.isolation.arena.Arena._grow", lambda self, byte_size: None)
    write_python(tmp_path, "double", code)
    with serving(tmp_path) as server:
        asked = [Asked(server, "double", full(BIG if n % 2 else 10, n)) for n in range(6)]
        for n, one in enumerate(asked):
            [response] = one.wait().responses
            assert (response["OUT"] == 2 * n).all()


def test_a_response_of_more_regions_than_can_be_announced_at_once(tmp_path: Path) -> None:
    """The server reads the announcements when it reads the response, which is not sent before it is whole."""
    code = """
def each(request):
    return pb.InferenceResponse([pb.Tensor(f"O{n}", np.full(20000, n, np.float32)) for n in range(700)])
"""
    outputs = "".join(f'output {{ name: "O{n}" data_type: TYPE_FP32 dims: [-1] }}\n' for n in range(700))
    write_python(tmp_path, "m", code, more=outputs)
    with serving(tmp_path, settings="shm-default-byte-size=65536;shm-growth-byte-size=65536") as server:
        [response] = Asked(server, "m", [1]).wait().responses
        assert [float(one.array()[-1]) for one in response.outputs] == list(range(700))


def test_nothing_is_kept_of_what_is_over(tmp_path: Path) -> None:
    """Neither in the server nor in the process: tables are empty again, and so is the shared memory."""
    code = """
import gc
from atoll.backends.python.hosted import HostedPythonModel
from atoll.isolation.service import Service
def each(request):
    array = value(request)
    if array[0] >= 0:
        return answer(out(call("echo", array).exec()) if array[0] % 3 else array)
    kept = {}
    for one in gc.get_objects():
        if isinstance(one, Service):
            one._exchange.tidy()
            kept.update(calls=len(one._calls), used=one._exchange._arena.used_bytes, lent=len(one._exchange._lent))
            kept.update(echoes=len(one._exchange._echoes))
        elif isinstance(one, HostedPythonModel):
            kept.update(deliveries=len(one._deliveries) - 1, cancelled=len(one._cancelled))
    assert len(kept) == 6
    text = str({name: number for name, number in kept.items() if number})
    return pb.InferenceResponse([], pb.TritonError(text))
"""
    write_python(tmp_path, "echo", ECHO, parameters={"isolation": "thread"})
    write_python(tmp_path, "m", code)
    with serving(tmp_path) as server:
        for _ in range(4):
            asked = [Asked(server, "m", full(1 + 12000 * (n % 2), n)) for n in range(50)]
            for one in asked[::3]:
                one.request.cancel()
            for one in asked:
                one.wait()
                one.request.cancel()  # too late
            del asked, one
        link = server.model("m").instances()[0]._backend._link  # type: ignore[union-attr]
        eventually(lambda: not (link._requests or link._keys or link._services._calls), "tables are empty")
        eventually(lambda: Asked(server, "m", [-1]).error == "{}", "the process keeps nothing")
        gc.collect()  # who asked here and the request know each other
        link._tidy()
        eventually(lambda: not link._exchange._arena.used_bytes, "no memory is held")
