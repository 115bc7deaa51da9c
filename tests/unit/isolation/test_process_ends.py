"""How children end: each in its own way, with a reason that a person understands, alone, and leaving nothing."""

import ctypes.util
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.unit.isolation.children import Nursery, eventually, is_gone

from atoll.errors import InternalError
from atoll.isolation import wire

pytestmark = pytest.mark.slow  # processes that hang take their time

DEADLOCK = """
native = ctypes.PyDLL(None)  # keeps the interpreter lock
mutex = ctypes.create_string_buffer(256)
data.sendall(b"ready")
native.pthread_mutex_lock(mutex)
native.pthread_mutex_lock(mutex)
"""


def test_a_child_talks_and_ends_when_we_close(nursery: Nursery) -> None:
    started = nursery.start("data.sendall(b'hello')")
    assert started.said() == "hello"
    assert started.child.alive
    started.close()
    assert started.reason() == "ended by itself, with exit code 0"
    assert not started.child.alive


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os._exit(3)", "exited with code 3"),
        ("sys.exit(4)", "exited with code 4"),
        ("sys.exit()", "ended by itself, with exit code 0"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "was killed by signal 9 (SIGKILL: by someone's command, or by the kernel for lack of memory)",
        ),
        ("os.abort()", "was killed by signal 6 (SIGABRT: native code gave up) in <module>, model.py:1"),
        (
            "ctypes.string_at(0)",
            "was killed by signal 11 (SIGSEGV: invalid memory access in native code) in <module>, model.py:1",
        ),
    ],
)
def test_an_end_is_told_of_in_words(nursery: Nursery, code: str, reason: str) -> None:
    other = nursery.start("data.sendall(b'here')", name="echo_0_1")
    assert nursery.start(code, setup={"file": "model.py"}).reason() == reason
    assert other.said() == "here"
    assert other.child.alive


def test_an_exception_of_the_host_is_the_first_message_and_in_the_log(nursery: Nursery) -> None:
    started = nursery.start(host="no_such_module:serve")
    assert (
        started.reason()
        == "exited with code 1 before it had started: ModuleNotFoundError: No module named 'no_such_module'"
    )
    message = started.child.data.recv(1 << 16)
    _, kind, _ = wire.HEADER.unpack_from(message)
    assert kind == wire.FAILED
    assert b"ModuleNotFoundError: No module named 'no_such_module'" in message
    assert "Traceback (most recent call last):" in nursery.printed()


def test_an_interpreter_that_is_not_there(nursery: Nursery) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(InternalError, match=r"instance 'echo_0_0' of model 'echo' cannot be started with /no/python"):
        nursery.start(python=("/no/python",))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_one_that_is_stopped_hangs_and_is_killed(nursery: Nursery) -> None:
    started = nursery.start("os.kill(os.getpid(), signal.SIGSTOP)", stub_timeout_s=0.5)
    assert started.reason() == "did not answer for 0.5 s and was killed"


def test_native_code_that_waits_for_ever_with_the_interpreter_lock_hangs(nursery: Nursery) -> None:
    started = nursery.start(DEADLOCK, stub_timeout_s=0.5, setup={"file": "model.py"})
    assert started.reason() == "did not answer for 0.5 s and was killed"
    assert '  File "model.py", line 6 in <module>' in nursery.printed()


def test_native_code_that_works_with_the_interpreter_lock_is_left_alone(nursery: Nursery) -> None:
    started = nursery.start("import re; re.match(r'(a+)+$', 'a' * 64 + 'b')", stub_timeout_s=0.5)
    eventually(lambda: any("it is left alone" in line for line in nursery.lines), "a warning")
    assert started.child.alive
    started.child.kill()
    assert started.reason() == "was killed by the server"


def test_an_endless_loop_is_no_hang_and_says_where_it_is(nursery: Nursery) -> None:
    code = "def execute():\n    data.sendall(b'ready')\n    while True:\n        pass\n\nexecute()"
    started = nursery.start(code, stub_timeout_s=0.5, setup={"file": "/m/model.py"})
    assert started.said() == "ready"
    for _ in range(5):  # it has been asked, and has answered, more often than the rule needs
        stack = nursery.supervisor.stack_of(started.child)
        assert stack is not None
        assert stack.startswith("Thread MainThread:\n")
        assert '  File "/m/model.py", line 6, in <module>\n  File "/m/model.py", line ' in stack
        assert not started.ended.wait(0.3)
    nursery.supervisor.stop(started.child, 0.1)
    assert started.reason() == "did not end within 0.1 s after it was asked to, and was killed"
    assert any("is killed; it was doing:\nThread MainThread" in line for line in nursery.lines)


def test_a_late_stack_is_not_taken_for_the_next(nursery: Nursery) -> None:
    code = (  # from the first that it says until it is told to go on, it keeps the interpreter's lock
        "import sys\nlibc = ctypes.PyDLL(None)\nsys.setswitchinterval(1000)\n"
        "def before():\n"
        "    libc.write(data.fileno(), b'1', 1); libc.read(data.fileno(), ctypes.create_string_buffer(1), 1)\n"
        "def after():\n    sys.setswitchinterval(0.005); data.sendall(b'2'); time.sleep(1000)\n"
        "before()\nafter()"
    )
    started = nursery.start(code, setup={"file": "/m/model.py"})
    started.said()
    watch = nursery.supervisor._watches[started.child]
    assert watch.ask_for_stack(0.05) is None
    assert watch.ask_for_stack(0.05) is None
    started.child.data.sendall(b"!")
    started.said()
    stack = watch.ask_for_stack(60)
    assert stack is not None
    assert "in after" in stack
    assert "in before" not in stack


def test_threads_are_named_in_the_stack(nursery: Nursery) -> None:
    code = (
        "threading.Thread(target=time.sleep, args=(1000,), name='prefetch', daemon=True).start(); data.sendall(b'ok')"
    )
    started = nursery.start(code)
    started.said()
    stack = nursery.supervisor.stack_of(started.child)
    assert stack is not None
    assert "\nThread prefetch:\n" in stack


def test_threads_left_behind_do_not_keep_the_process(nursery: Nursery) -> None:
    started = nursery.start("threading.Thread(target=time.sleep, args=(1000,), name='forgotten').start()")
    started.close()
    assert started.reason() == "ended by itself, with exit code 0"
    assert nursery.printed() == ["threads that still run end with the process: forgotten"]


def test_a_child_that_closes_what_connects_it_is_ended(nursery: Nursery) -> None:
    started = nursery.start("os.closerange(3, 100); time.sleep(1000)")
    assert started.reason() in (
        "closed its connection to the server and was killed",
        "was killed by signal 9 (SIGKILL: by someone's command, or by the kernel for lack of memory)",  # by itself
    )


def test_a_child_that_cannot_be_heard_any_more_is_ended(nursery: Nursery) -> None:
    code = (
        "import atoll.isolation.child as child, socket\n"
        "socket.socket(fileno=os.dup(child.inherited.control)).shutdown(socket.SHUT_WR)"
    )
    assert nursery.start(code, stub_timeout_s=0).reason() == "closed its connection to the server and was killed"


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "time.sleep(1000)"])
def test_what_it_has_started_ends_with_it(nursery: Nursery, end: str) -> None:
    code = f"grandchild = subprocess.Popen(['sleep', '1000']); data.sendall(b'%d' % grandchild.pid); {end}"
    started = nursery.start(code)
    grandchild = int(started.said())
    if "sleep(1000)" in end:
        started.child.kill()
    started.reason()
    eventually(lambda: is_gone(grandchild), "the grandchild is gone")


def test_a_memory_limit_is_an_error_in_the_child_which_lives_on(nursery: Nursery) -> None:
    code = (
        "import numpy\ntry:\n    numpy.ones(10 << 30, 'u1')\nexcept MemoryError as error:\n"
        "    data.sendall(str(error).encode())\nbytearray(10 << 20)\ndata.sendall(b' and lives')\n"
    )
    started = nursery.start(code, memory_limit=1 << 30)
    said = started.said()
    assert said.startswith("Unable to allocate 10.0 GiB")
    assert (said if said.endswith("and lives") else started.said()).endswith(" and lives")


def test_a_memory_limit_counts_no_shared_memory(nursery: Nursery) -> None:
    code = "import mmap; shared = mmap.mmap(-1, 256 << 20); shared[:8] = b'12345678'; data.sendall(b'mapped')"
    assert nursery.start(code, memory_limit=128 << 20).said() == "mapped"


@pytest.mark.skipif(ctypes.util.find_library("stdc++") is None, reason="needs the C++ library")
def test_a_failed_allocation_in_native_code_is_told_of(nursery: Nursery) -> None:
    library = ctypes.util.find_library("stdc++")
    code = f"new = ctypes.CDLL({library!r})._Znwm\nnew.argtypes = [ctypes.c_size_t]\nnew(10 << 30)"
    reason = nursery.start(code, memory_limit=512 << 20, setup={"file": "model.py"}).reason()
    assert reason == (
        "ran out of its memory limit of 512 MiB and was killed by signal 6 (SIGABRT: native code gave up) "
        "in <module>, model.py:3"
    )


def test_eight_start_side_by_side(nursery: Nursery) -> None:
    with ThreadPoolExecutor(8) as pool:
        all_of_them = list(pool.map(lambda i: nursery.start("data.sendall(b'hi')", name=f"echo_0_{i}"), range(8)))
    assert [one.said() for one in all_of_them] == ["hi"] * 8
    assert len({one.child.pid for one in all_of_them}) == 8
    all_of_them[3].child.kill()
    all_of_them[3].reason()
    assert all(one.child.alive for one in all_of_them if one is not all_of_them[3])


def test_a_child_outlives_the_thread_that_started_it(nursery: Nursery) -> None:
    started = []
    thread = threading.Thread(target=lambda: started.append(nursery.start("data.sendall(b'hi')")))
    thread.start()
    thread.join()
    assert started[0].said() == "hi"
    assert not started[0].ended.wait(0.3)
    assert nursery.supervisor.stack_of(started[0].child) is not None


def test_nothing_is_left_open_by_many_children(nursery: Nursery) -> None:
    nursery.start("os._exit(0)").reason()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        started = nursery.start("os._exit(0)")
        started.reason()
        started.close()
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "all descriptors are closed")


def test_closing_the_supervisor_kills_and_reports() -> None:
    nursery = Nursery()
    started = nursery.start("data.sendall(b'hi'); time.sleep(1000)")
    started.said()
    nursery.close()
    assert started.reasons == ["was killed because the server is closing"]


def test_what_follows_an_end_may_fail_without_harm(nursery: Nursery) -> None:
    broken = nursery.start("time.sleep(1000)")
    watch = nursery.supervisor._watches[broken.child]
    watch._on_end = lambda reason: 1 / 0  # type: ignore[assignment]
    broken.child.kill()
    assert watch.ended.wait(60)
    broken.ended.set()
    assert nursery.start("os._exit(9)", name="echo_0_7").reason() == "exited with code 9"
    assert any("what follows the end of instance 'echo_0_0'" in line for line in nursery.lines)


def test_a_timer_fires_unless_it_is_cancelled(nursery: Nursery) -> None:
    fired = threading.Event()
    wrong: list[int] = []
    nursery.supervisor.later(0.05, lambda: wrong.append(1)).cancel()
    nursery.supervisor.later(0.1, fired.set)
    assert fired.wait(60)
    assert not wrong


def test_waiting_for_the_supervisors_thread_on_it_is_refused(nursery: Nursery) -> None:
    started = nursery.start()
    refused: list[BaseException] = []
    done = threading.Event()

    def wrong() -> None:
        for call in (
            lambda: nursery.supervisor.stop(started.child, 1),
            lambda: nursery.supervisor.stack_of(started.child),
        ):
            try:
                call()
            except RuntimeError as error:
                refused.append(error)
        done.set()

    nursery.supervisor.later(0, wrong)
    assert done.wait(60)
    assert len(refused) == 2


def test_sigterm_and_sigint_wait_for_the_server(nursery: Nursery) -> None:
    started = nursery.start("data.sendall(b'hi'); time.sleep(1000)")
    started.said()
    assert os.getsid(started.child.pid) == started.child.pid  # no terminal's Ctrl-C comes here
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(started.child.pid, number)
        assert not started.ended.wait(0.2)
    assert nursery.supervisor.stack_of(started.child) is not None


@pytest.mark.parametrize("how", ["subprocess", "fork"])
def test_what_a_child_starts_can_be_terminated(nursery: Nursery, how: str) -> None:
    code = "import multiprocessing\n"
    if how == "fork":
        code += "one = multiprocessing.get_context('fork').Process(target=time.sleep, args=(1000,)); one.start()\n"
        code += "one.terminate(); one.join(); data.sendall(str(one.exitcode).encode())"
    else:
        code += "one = subprocess.Popen(['sleep', '1000'])\none.terminate(); data.sendall(str(one.wait()).encode())"
    assert nursery.start(code).said() == str(-signal.SIGTERM)


def test_multiprocessing_by_spawn_works_in_a_child(nursery: Nursery) -> None:
    code = (
        "import multiprocessing\none = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(0,))\n"
        "one.start(); one.join(); data.sendall(str(one.exitcode).encode())"
    )
    assert nursery.start(code).said() == "0"


def test_a_child_inherits_nothing_that_it_should_not(nursery: Nursery) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        started = nursery.start(
            "import json\n"
            "names = {n: os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') "
            "if os.path.exists(f'/proc/self/fd/{n}')}\n"
            "blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
            "inheritable = [n for n in names if os.get_inheritable(int(n))]\n"
            "data.sendall(json.dumps([names, blocked, inheritable, sys.argv]).encode())"
        )
        names, blocked, inheritable, argv = json.loads(started.said())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        os.close(reading)
        os.close(writing)
    assert names.pop("0") == "/dev/null"
    assert names.pop("1") == names.pop("2")
    kinds = sorted(name.split(":")[0] for name in names.values())
    assert kinds == ["pipe", "socket", "socket", "socket"]  # the lifeline; control, data, regions
    assert blocked == []
    assert sorted(inheritable) == ["0", "1", "2"]
    assert argv == ["-c"]
