"""Python models whose processes die, hang, go mad or are in the way: who hears of it, who does not, what comes back."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.unit.server.python_repository import (
    Asked,
    ask,
    children,
    eventually,
    nothing_left,
    serving,
    write_python,
)

import atoll

pytestmark = pytest.mark.slow  # processes that are killed and started anew take their time

DOUBLE = "def each(request):\n    return answer(value(request) * 2)"
# Says its process, and obeys: -1 dies by its own hand, -2 crashes, -3 waits for the file NOTES + "go", -4 loops.
OBEDIENT = """
note(NOTES, f"{os.getpid()}\\n")
def each(request):
    order = value(request)[0]
    if order == -1: os._exit(3)
    if order == -2: ctypes.string_at(0)
    if order == -3:
        note(NOTES + "begun", "b")
        while not os.path.exists(NOTES + "go"):
            time.sleep(0.001)
    while order == -4:
        pass
    return answer(value(request) * 2)
"""


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


def pids(notes: Path) -> list[int]:
    """Of the processes that a model has had, in order."""
    return [int(line) for line in notes.read_text().split()] if notes.exists() else []


def begun(notes: Path) -> int:
    """How many requests wait for the file."""
    marks = notes.with_name("notesbegun")
    return len(marks.read_text()) if marks.exists() else 0


def reached(count: Callable[[], int], target: int) -> bool:
    return count() >= target


def go(notes: Path) -> None:
    notes.with_name("notesgo").touch()


@pytest.mark.parametrize(
    ("order", "text"),
    [(-1, "exited with code 3"), (-2, "was killed by signal 11 (SIGSEGV")],
)
def test_a_process_that_dies_fails_what_it_had_and_comes_back(tmp_path: Path, order: int, text: str) -> None:
    notes = write_python(tmp_path, "m", OBEDIENT)
    write_python(tmp_path, "other", DOUBLE)
    with serving(tmp_path) as server:
        assert ask(server, "m", [1]) == 2
        dying = Asked(server, "m", [order])
        assert text in dying.error
        assert "Stub process 'm_0_0' is not healthy" in dying.error
        assert ask(server, "other", [1]) == 2
        eventually(lambda: server.model_ready("m"), "the model is back")
        assert ask(server, "m", [4]) == 8
        assert len(pids(notes)) == 2
        assert server.in_flight() == 0


def test_what_is_queued_survives_a_restart_and_nothing_new_is_taken_meanwhile(tmp_path: Path) -> None:
    slow = (
        'if os.path.exists(NOTES + "dead"):\n    while not os.path.exists(NOTES + "up"):\n        time.sleep(0.001)\n'
    )
    notes = write_python(tmp_path, "m", slow + OBEDIENT)
    write_python(tmp_path, "other", DOUBLE)
    with serving(tmp_path) as server:
        first = Asked(server, "m", [-3])
        queued = [Asked(server, "m", [n]) for n in range(20)]
        eventually(lambda: begun(notes), "the first one runs")
        notes.with_name("notesdead").touch()
        os.kill(pids(notes)[0], signal.SIGKILL)
        assert "SIGKILL" in first.error
        eventually(lambda: not server.model_ready("m"), "the model is not ready")
        assert server.model_ready("other")
        assert ask(server, "other", [3]) == 6
        with pytest.raises(atoll.UnavailableError, match="not healthy"):
            Asked(server, "m", [1])
        assert not any(one.finals for one in queued)
        notes.with_name("notesup").touch()
        assert [one.values for one in queued] == [[2 * n] for n in range(20)]
        assert server.model_ready("m")


def test_a_restart_that_fails_fails_the_queue_and_is_tried_again_later_and_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = 'if os.path.exists(NOTES + "broken"):\n    raise ValueError("no weights today")\n'
    notes = write_python(tmp_path, "m", broken + OBEDIENT)
    with serving(tmp_path) as server:
        first, second = Asked(server, "m", [-3]), Asked(server, "m", [5])
        eventually(lambda: begun(notes), "the first one runs")
        notes.with_name("notesbroken").touch()
        os.kill(pids(notes)[0], signal.SIGKILL)
        assert "SIGKILL" in first.error
        assert "no weights today" in second.error
        assert not server.model_ready("m")
        eventually(lambda: "Next attempt in 0.4 s" in caplog.text, "it is tried again")
        assert "started again in 0.1 s" in caplog.text
        assert "Next attempt in 0.2 s" in caplog.text
        notes.with_name("notesbroken").unlink()
        eventually(lambda: server.model_ready("m"), "the model is back")
        assert ask(server, "m", [1]) == 2


def test_kills_under_load_with_several_instances(tmp_path: Path) -> None:
    """Each request is answered once: rightly, or with what happened to its instance. The other model's are right."""
    notes = write_python(tmp_path, "m", OBEDIENT, instances=3)
    write_python(tmp_path, "other", DOUBLE)
    with serving(tmp_path) as server:
        asked: list[tuple[int, Asked]] = []
        others: list[tuple[int, Asked]] = []
        refused = 0
        done = threading.Event()

        def load() -> None:
            nonlocal refused
            number = 0
            while not done.is_set():
                number += 1
                size = 12000 if number % 3 == 0 else 2
                others.append((number, Asked(server, "other", np.full(size, number))))
                try:
                    asked.append((number, Asked(server, "m", np.full(size, number))))
                except atoll.UnavailableError:
                    refused += 1
                if server.in_flight() > 50:
                    time.sleep(0.001)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            killed: set[int] = set()
            for _ in range(5):
                eventually(lambda: set(pids(notes)) - killed, "a process that runs")
                pid = (set(pids(notes)) - killed).pop()
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
                eventually(partial(reached, lambda: len(others), len(others) + 20), "requests go on")
        finally:
            done.set()
            thread.join()
        for number, one in others:
            assert one.values == [2 * number]
        for number, one in asked:
            if one.error:
                assert "SIGKILL" in one.error
            else:
                assert one.values == [2 * number]
        eventually(lambda: server.model_ready("m"), "the model is back")
        eventually(lambda: server.in_flight() == 0, "all is answered")
        assert ask(server, "m", [1]) == 2


def test_a_stopped_process_is_taken_for_hung(tmp_path: Path) -> None:
    notes = write_python(tmp_path, "m", OBEDIENT)
    with serving(tmp_path, stub_timeout_s=0.5) as server:
        os.kill(pids(notes)[0], signal.SIGSTOP)
        assert "did not answer for 0.5 s and was killed" in Asked(server, "m", [1]).error
        eventually(lambda: server.model_ready("m"), "the model is back")
        assert ask(server, "m", [1]) == 2


def test_an_execution_that_takes_too_long_is_ended_and_its_place_named(tmp_path: Path) -> None:
    write_python(tmp_path, "m", OBEDIENT, parameters={"execution_timeout_seconds": 0.5})
    with serving(tmp_path) as server:
        error = Asked(server, "m", [-4]).error
        assert "an execution took longer than 0.5 s" in error
        assert "model.py:" in error
        eventually(lambda: server.model_ready("m"), "the model is back")
        assert ask(server, "m", [1]) == 2


def test_an_allocation_beyond_the_limit_is_that_requests_error(tmp_path: Path) -> None:
    code = "def each(request):\n    return answer(np.ones(int(value(request)[0]), np.float32))"
    write_python(tmp_path, "m", code, parameters={"memory_limit": "400MiB"})
    with serving(tmp_path) as server:
        assert ask(server, "m", [10]) == 1
        error = Asked(server, "m", [2.5e9]).error
        assert "allocate" in error
        eventually(lambda: server.model_ready("m"), "it serves on")
        assert ask(server, "m", [10]) == 1


@pytest.mark.parametrize(
    "madness",
    [
        "channel._socket.sendall(os.urandom(1 << 16))",
        "channel._socket.sendall(wire.message(wire.RESPONSE, 1, b'{' * 100))",
        "channel._socket.sendall(b''.join(wire.pack(wire.READY, 1, None, facts={'error': [], 'code': []})) * 3);"
        " channel._socket.sendall(b''.join(wire.pack(wire.INFER, 1, None, facts={'parameters': 7})))",
        "channel._exchange._regions.sendall(b'?' * 12); channel._socket.sendall(wire.message(wire.RETRACT, 5))",
        "channel._socket.shutdown(2)",
    ],
)
def test_a_process_that_goes_mad_harms_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, madness: str
) -> None:
    monkeypatch.setattr("atoll.isolation.link.LOST_S", 0.2)
    code = f"""
import gc
from atoll.isolation import wire
from atoll.isolation.child_channel import ChildChannel
def each(request):
    if value(request)[0] < 0:
        channel = next(one for one in gc.get_objects() if isinstance(one, ChildChannel))
        {madness}
        time.sleep(60)
    return answer(value(request) * 2)
"""
    write_python(tmp_path, "mad", code)
    write_python(tmp_path, "other", DOUBLE)
    with serving(tmp_path) as server:
        assert "Stub process 'mad_0_0' is not healthy" in Asked(server, "mad", [-1]).error
        assert ask(server, "other", [2]) == 4
        eventually(lambda: server.model_ready("mad"), "the model is back")
        assert ask(server, "mad", [2]) == 4


def test_a_model_hears_that_the_one_it_calls_has_died(tmp_path: Path) -> None:
    write_python(tmp_path, "m", OBEDIENT)
    code = """
def each(request):
    response = call("m", value(request)).exec()
    return pb.InferenceResponse([], response.error()) if response.has_error() else answer(out(response))
"""
    write_python(tmp_path, "caller", code)
    with serving(tmp_path) as server:
        assert ask(server, "caller", [1]) == 2
        assert "exited with code 3" in Asked(server, "caller", [-1]).error
        eventually(lambda: server.model_ready("m"), "the model is back")
        assert ask(server, "caller", [3]) == 6


def test_a_caller_that_dies_leaves_the_called_model_alone(tmp_path: Path) -> None:
    notes = write_python(tmp_path, "m", OBEDIENT)
    code = """
note(NOTES, f"{os.getpid()}\\n")
def each(request):
    return answer(out(call("m", value(request)).exec()))
"""
    caller = write_python(tmp_path, "caller", code)
    with serving(tmp_path) as server:
        asked = Asked(server, "caller", np.full(20000, -3))
        eventually(lambda: begun(notes), "the called model runs")
        os.kill(pids(caller)[0], signal.SIGKILL)
        assert "SIGKILL" in asked.error
        go(notes)
        assert ask(server, "m", [1]) == 2
        eventually(lambda: server.model_ready("caller"), "the caller is back")
        assert ask(server, "caller", [1]) == 2
        eventually(lambda: server.in_flight() == 0, "the orphan is answered")


def test_forks_of_a_zygote_die_alone(tmp_path: Path) -> None:
    code = OBEDIENT.replace('note(NOTES, f"{os.getpid()}\\n")', "") + (
        "\nclass TritonPythonModel:\n    def initialize(self, args):\n"
        '        note(NOTES, f"{os.getpid()}\\n")\n'
        "    def execute(self, requests):\n        return [each(one) for one in requests]\n"
    )
    notes = write_python(tmp_path, "m", code, instances=2, parameters={"start_method": "fork"})
    with serving(tmp_path) as server:
        for number in (3, 4):
            asked = Asked(server, "m", [-1])
            assert "exited with code 3" in asked.error
            eventually(lambda: server.model_ready("m"), "one is there")
            assert ask(server, "m", [1]) == 2
            eventually(partial(reached, lambda: len(pids(notes)), number), "it is back")
        asked = Asked(server, "m", [-3])
        eventually(lambda: begun(notes), "one runs")
        go(notes)
        assert asked.wait().finals == 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("os._exit(4)\n", "exited with code 4"),
        ("raise ValueError('no weights')\n", "no weights"),
        ("def f(:\n", "line"),
        ("import nowhere_to_be_found\n", "nowhere_to_be_found"),
    ],
)
def test_one_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path, code: str, text: str) -> None:
    write_python(tmp_path, "m", code + DOUBLE, instances=2 if "ValueError" in code else 1)
    with serving(tmp_path, exit_on_error=False) as server:
        [error] = server.failures().values()
        assert text in str(error)
        assert not children()


@pytest.mark.parametrize("state", ["stopped", "looping", "restarting", "starting again and again"])
def test_the_server_stops_whatever_its_processes_do(tmp_path: Path, state: str) -> None:
    code = OBEDIENT
    if state == "restarting":
        code = 'if os.path.exists(NOTES):\n    note(NOTES + "begun", "b"); time.sleep(600)\n' + OBEDIENT
    elif state.startswith("starting"):
        code = 'if os.path.exists(NOTES):\n    note(NOTES + "begun", "b"); os._exit(1)\n' + OBEDIENT
    notes = write_python(tmp_path, "m", code)
    server = serving(tmp_path).start()
    asked = Asked(server, "m", [-4 if state == "looping" else -3])
    if state == "looping":
        time.sleep(0.05)
    else:
        eventually(lambda: begun(notes), "the model runs")
    if state == "stopped":
        os.kill(pids(notes)[0], signal.SIGSTOP)
    elif state != "looping":
        os.kill(pids(notes)[0], signal.SIGKILL)
        eventually(lambda: begun(notes) >= 2, "it is started again")
    server.stop(timeout=0)
    assert asked.error
    assert not children()


def test_a_model_that_ends_its_interpreter_in_a_thread_ends_its_request_only(tmp_path: Path) -> None:
    code = "import sys\ndef each(request):\n    sys.exit(5)"
    write_python(tmp_path, "m", code, parameters={"isolation": "thread"})
    with serving(tmp_path) as server:
        for _ in range(2):
            assert "SystemExit" in Asked(server, "m", [1]).error


def test_an_unload_ends_a_process_that_is_being_started_anew(tmp_path: Path) -> None:
    code = 'if os.path.exists(NOTES):\n    note(NOTES + "begun", "b"); time.sleep(600)\n' + OBEDIENT
    notes = write_python(tmp_path, "m", code)
    with serving(tmp_path, model_control_mode="explicit", load_model=["m"]) as server:
        assert "exited with code 3" in Asked(server, "m", [-1]).error
        eventually(lambda: begun(notes), "it is started again")
        server.unload_model("m")
        eventually(lambda: not children(), "no process is left")
