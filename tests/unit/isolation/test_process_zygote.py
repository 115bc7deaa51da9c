"""Forking instances from a zygote: what they share, and what happens when it dies."""

import json
import os
import signal
import threading

import pytest
from tests.unit.isolation.children import Nursery, eventually, is_gone

from atoll.errors import InternalError

WEIGHTS = "import numpy; shared = numpy.ones(100 << 20, 'u1')"
SUM = "data.sendall(str(int(shared.sum())).encode())"


def private_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Private_"))


def test_forks_share_what_the_module_has_loaded(nursery: Nursery) -> None:
    zygote = nursery.zygote(WEIGHTS)
    forks = [nursery.start(SUM, zygote=zygote, name=f"echo_0_{i}") for i in range(4)]
    assert [one.said() for one in forks] == [str(100 << 20)] * 4
    assert len({one.child.pid for one in forks}) == 4
    assert all(private_bytes(one.child.pid) < 40 << 20 for one in forks)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os._exit(3)", "exited with code 3"),
        ("os.kill(os.getpid(), signal.SIGTERM); sys.exit(5)", "exited with code 5"),
        (
            "ctypes.string_at(0)",
            "was killed by signal 11 (SIGSEGV: invalid memory access in native code) in <module>, m.py:1",
        ),
        ("raise ValueError('x')", "exited with code 1"),
    ],
)
def test_the_end_of_a_fork_is_known(nursery: Nursery, code: str, reason: str) -> None:
    zygote = nursery.zygote()
    assert nursery.start(code, zygote=zygote, setup={"file": "m.py"}).reason() == reason
    assert nursery.start("data.sendall(b'next')", zygote=zygote).said() == "next"


def test_a_fork_that_hangs_is_killed_with_what_it_has_started(nursery: Nursery) -> None:
    code = (
        "one = subprocess.Popen(['sleep', '1000']); data.sendall(str(one.pid).encode())\n"
        "os.kill(os.getpid(), signal.SIGSTOP)"
    )
    started = nursery.start(code, zygote=nursery.zygote(), stub_timeout_s=0.5)
    grandchild = int(started.said())
    assert started.reason() == "did not answer for 0.5 s and was killed"
    eventually(lambda: is_gone(grandchild), "the grandchild is gone")


def test_what_a_fork_has_started_ends_with_it(nursery: Nursery) -> None:
    code = "one = subprocess.Popen(['sleep', '1000']); data.sendall(str(one.pid).encode()); os._exit(0)"
    started = nursery.start(code, zygote=nursery.zygote())
    grandchild = int(started.said())
    assert started.reason() == "ended by itself, with exit code 0"
    eventually(lambda: is_gone(grandchild), "the grandchild is gone")


def test_a_fork_can_be_killed_from_its_first_moment_on(nursery: Nursery) -> None:
    zygote = nursery.zygote("import posix; os.setsid = lambda: (time.sleep(1), posix.setsid())")
    started = nursery.start("data.sendall(b'too late')", zygote=zygote)
    started.child.kill()
    assert started.reason() == "was killed by the server"
    assert started.said() == ""


def test_a_fork_says_what_it_is_doing_and_prints_under_its_own_name(nursery: Nursery) -> None:
    zygote = nursery.zygote("print('loading')")
    started = nursery.start("print('working'); data.sendall(b'hi')", zygote=zygote, setup={"file": "/m/model.py"})
    started.said()
    stack = nursery.supervisor.stack_of(started.child)
    assert stack is not None
    assert stack.startswith("Thread MainThread:")
    eventually(lambda: len(nursery.lines) == 2, "both lines")
    assert sorted(nursery.lines) == ["[echo (zygote)] loading", "[echo_0_0] working"]


def test_a_fork_inherits_nothing_of_the_zygote(nursery: Nursery) -> None:
    zygote = nursery.zygote()
    code = (
        "names = {n: os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') "
        "if os.path.exists(f'/proc/self/fd/{n}')}\n"
        "import json; said = [names, os.getsid(0) == os.getpid(), len(os.listdir('/proc/self/task'))]\n"
        "data.sendall(json.dumps(said).encode())"
    )
    first = nursery.start("data.sendall(b'hi')", zygote=zygote)
    first.said()
    names, own_session, threads = json.loads(nursery.start(code, zygote=zygote).said())
    for standard in "012":
        names.pop(standard)
    assert sorted(name.split(":")[0] for name in names.values()) == ["pipe", "socket", "socket", "socket"]
    assert own_session
    assert threads == 2  # its own, and the one that answers


def test_forks_outlive_the_zygote_and_the_next_come_from_a_new_one(nursery: Nursery) -> None:
    zygote = nursery.zygote("shared = os.getpid()")
    old = [nursery.start("data.sendall(str(shared).encode())", zygote=zygote, name=f"echo_0_{i}") for i in range(3)]
    pid = zygote.pid
    assert pid is not None
    assert [one.said() for one in old] == [str(pid)] * 3
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: any("its instances live on" in line for line in nursery.lines), "a warning")
    assert all(one.child.alive for one in old)
    assert nursery.supervisor.stack_of(old[0].child) is not None
    new = nursery.start("data.sendall(str(shared).encode())", zygote=zygote)
    assert new.said() == str(zygote.pid) != str(pid)
    # The ends of orphans are still seen, if not their exit codes.
    os.kill(old[0].child.pid, signal.SIGKILL)
    assert old[0].reason() == "ended, and nobody could see how"
    old[1].child.kill()
    assert old[1].reason() == "was killed by the server"
    old[2].close()
    assert old[2].reason() == "ended, and nobody could see how"
    assert new.child.alive


def test_a_module_that_cannot_be_loaded(nursery: Nursery) -> None:
    zygote = nursery.zygote("raise ValueError('no weights')")
    for _ in range(2):  # the second try starts a new zygote
        with pytest.raises(InternalError, match=r"the module of model 'echo' cannot be loaded: ValueError: no weights"):
            nursery.start(zygote=zygote)
    eventually(lambda: "ValueError: no weights" in [line.split("] ", 1)[-1] for line in nursery.lines], "a traceback")


@pytest.mark.parametrize("code", ["os._exit(3)", "sys.exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_module_that_ends_the_zygote(nursery: Nursery, code: str) -> None:
    with pytest.raises(
        InternalError, match=r"model 'echo' (exited with code 3|was killed by signal 9|cannot be loaded: SystemExit: 3)"
    ):
        nursery.start(zygote=nursery.zygote(code))


def test_a_zygote_that_does_not_fork_in_time_is_replaced(nursery: Nursery) -> None:
    zygote = nursery.zygote(fork_timeout_s=0.5)
    nursery.start("data.sendall(b'one')", zygote=zygote).said()
    assert zygote.pid is not None
    os.kill(zygote.pid, signal.SIGSTOP)
    with pytest.raises(InternalError, match=r"the zygote of model 'echo' did not fork within 0\.5 s"):
        nursery.start(zygote=zygote)
    eventually(lambda: zygote.pid is None, "the zygote is gone")
    assert nursery.start("data.sendall(b'two')", zygote=zygote).said() == "two"


def test_a_zygote_with_threads_is_warned_of(nursery: Nursery) -> None:
    zygote = nursery.zygote("threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()")
    assert nursery.start("data.sendall(b'hi')", zygote=zygote).said() == "hi"
    warning = "has started 1 threads, which its forked instances do not have"
    eventually(lambda: any(warning in line for line in nursery.lines), "the warning is in the log")


@pytest.mark.parametrize("noise", [b'7\n{"forked": 1}\n\xff\n', b"x" * 100 + b"\n"])
def test_a_zygote_whose_module_writes_to_our_socket(nursery: Nursery, noise: bytes) -> None:
    """Its descriptors are there for all of its code to see."""
    zygote = nursery.zygote(f"import atoll.isolation.child as child; os.write(child.inherited.data, {noise!r})")
    assert nursery.start("data.sendall(b'hi')", zygote=zygote).said() == "hi"


def test_a_zygote_that_sends_without_end_is_killed(nursery: Nursery) -> None:
    code = "import atoll.isolation.child as child\nwhile True: os.write(child.inherited.data, b'x' * 65536)"
    with pytest.raises(InternalError, match=r"^the zygote of model 'echo' sent what is no message and was killed$"):
        nursery.start(zygote=nursery.zygote(code))


def test_a_memory_limit_holds_in_forks(nursery: Nursery) -> None:
    code = "try:\n    bytearray(1 << 30)\nexcept MemoryError:\n    data.sendall(b'refused')"
    zygote = nursery.zygote(memory_limit=300 << 20)
    assert nursery.start(code, zygote=zygote, memory_limit=300 << 20).said() == "refused"


def test_a_zygote_can_be_closed_while_it_loads(nursery: Nursery) -> None:
    zygote = nursery.zygote("time.sleep(1000)")
    failed: list[BaseException] = []

    def start() -> None:
        try:
            nursery.start(zygote=zygote)
        except InternalError as error:
            failed.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    eventually(lambda: zygote.pid is not None, "it runs")
    zygote.close()
    thread.join()
    assert str(failed[0]) == "the zygote of model 'echo' was killed because it was not needed any more"
    with pytest.raises(InternalError, match="is closed"):
        nursery.start(zygote=zygote)


def test_nothing_is_left_open_by_zygotes(nursery: Nursery) -> None:
    def once() -> None:
        zygote = nursery.zygote()
        started = nursery.start("os._exit(0)", zygote=zygote)
        started.reason()
        started.close()
        zygote.close()

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        once()
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "all descriptors are closed")
