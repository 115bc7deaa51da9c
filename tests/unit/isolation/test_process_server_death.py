"""When the server is killed, its children end by themselves, whatever they are doing."""

import os
import signal

import pytest
from tests.unit.isolation.children import ServerProcess, eventually, is_gone

pytestmark = pytest.mark.slow  # servers are killed, and their processes watched

DOINGS = {
    "waiting": "data.sendall(b'ready')",
    "a loop in Python": "data.sendall(b'ready')\nwhile True: pass",
    "native work with the interpreter lock": "import re; data.sendall(b'ready'); re.match(r'(a+)+$', 'a' * 64 + 'b')",
    "native waiting with the interpreter lock": "data.sendall(b'ready'); ctypes.PyDLL(None).sleep(1000)",
    "stopped": "data.sendall(b'ready'); os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("doing", DOINGS)
def test_children_end_when_the_server_is_killed(doing: str) -> None:
    code = f"started = nursery.start({DOINGS[doing]!r})\nstarted.said()\n"
    code += "print(started.child.pid, flush=True)\ntime.sleep(1000)"
    with ServerProcess(code) as server:
        pid = int(server.line())
        assert not is_gone(pid)
        server.kill()
        eventually(lambda: is_gone(pid), "the child is gone")


def test_what_children_have_started_ends_too() -> None:
    inner = "one = subprocess.Popen(['sleep', '1000']); data.sendall(str(one.pid).encode())"
    code = f"started = nursery.start({inner!r})\nprint(started.child.pid, started.said(), flush=True)\ntime.sleep(1000)"
    with ServerProcess(code) as server:
        pids = [int(one) for one in server.line().split()]
        server.kill()
        eventually(lambda: all(is_gone(pid) for pid in pids), "both are gone")


@pytest.mark.parametrize("doing", ["waiting", "a loop in Python"])
def test_children_end_though_a_fork_of_the_server_lives_on(doing: str) -> None:
    """The fork holds copies of all that connects the children with the server, so nothing is closed for them."""
    code = (
        f"started = nursery.start({DOINGS[doing]!r})\nstarted.said()\nfork = os.fork()\n"
        "if fork: print(started.child.pid, fork, flush=True)\ntime.sleep(1000)"
    )
    with ServerProcess(code) as server:
        pid, fork = (int(one) for one in server.line().split())
        try:
            server.kill()
            eventually(lambda: is_gone(pid), "the child is gone")
            assert not is_gone(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


def test_forks_of_a_zygote_and_the_zygote_end_with_the_server() -> None:
    loop = "data.sendall(b'ready')\nwhile True: pass"
    code = (
        f"zygote = nursery.zygote()\nstarted = [nursery.start(code, zygote=zygote) for code in ({loop!r}, {loop!r})]\n"
        "for one in started: one.said()\n"
        "print(zygote.pid, *(one.child.pid for one in started), flush=True)\ntime.sleep(1000)"
    )
    with ServerProcess(code) as server:
        pids = [int(one) for one in server.line().split()]
        assert len(pids) == 3
        server.kill()
        eventually(lambda: all(is_gone(pid) for pid in pids), "all are gone")


def test_a_ctrl_c_at_a_terminal_leaves_children_to_the_server() -> None:
    """The terminal sends it to all processes of the session's foreground group; ours are in sessions of their own."""
    controller, terminal = os.openpty()
    code = (
        "import fcntl, termios\nos.setsid()\n"
        f"fcntl.ioctl({terminal}, termios.TIOCSCTTY, 0)\n"
        "started = nursery.start(\"data.sendall(b'ready'); data.sendall(data.recv(10)); time.sleep(1000)\")\n"
        "started.said()\ntry:\n    print('up', flush=True)\n    time.sleep(1000)\n"
        "except KeyboardInterrupt:\n"
        "    started.child.data.sendall(b'still')\n    print(started.said(), flush=True)\n"
        "    nursery.supervisor.stop(started.child, 0)\n    print(started.reason(), flush=True)\n"
    )
    os.set_inheritable(terminal, True)
    try:
        with ServerProcess(code, (terminal,)) as server:
            assert server.line() == "up"
            os.write(controller, b"\x03")
            assert server.line() == "still"
            assert server.line() == "did not end within 0 s after it was asked to, and was killed"
    finally:
        os.close(controller)
        os.close(terminal)
