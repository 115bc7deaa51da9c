"""A Redis server of Debian's package, which a test may pause, kill and start again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "never-to-be-seen"


def installed_redis() -> str:
    """The program, installed by apt where root may; the test is skipped where that cannot be."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    if os.getuid() or shutil.which("apt-get") is None:
        pytest.skip("redis-server is not installed, and cannot be installed here: that takes root and apt")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "redis-server"]):
        done = subprocess.run(
            ["apt-get", "-qq", *command], capture_output=True, text=True, timeout=600, check=False, env=environment
        )
        if done.returncode:
            pytest.skip(f"apt could not install redis-server: {done.stderr.strip()[-500:]}")
    found = shutil.which("redis-server")
    assert found is not None, "apt has installed redis-server, and it is not there"
    return found


class RedisServer:
    """One that keeps nothing on disk."""

    def __init__(self, program: str, folder: Path, *more: str):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *more]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def use_tls(self) -> None:
        """On its one port."""
        self._command[1:3] = ["--port", "0", "--tls-port", str(self.port)]

    def start(self) -> None:
        log = self._folder / "log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(self._command, stdout=file, stderr=file, cwd=self._folder)
        for _ in range(600):
            assert self._process.poll() is None, f"redis-server ended: {log.read_text()}"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        pytest.fail(f"redis-server does not answer: {log.read_text()}")

    def pause(self) -> None:
        """It takes connections, and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None


@pytest.fixture(scope="session")
def redis_program() -> str:
    return installed_redis()


@pytest.fixture
def redis_server(redis_program: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test's own."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(redis_program, folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def guarded_redis(redis_program: str, tmp_path: Path) -> Iterator[RedisServer]:
    """One that wants a password."""
    folder = tmp_path / "guarded"
    folder.mkdir()
    server = RedisServer(redis_program, folder, "--requirepass", PASSWORD)
    server.start()
    yield server
    server.kill()
