"""A real `atoll serve` process, and what tests ask of it over HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Queue
from typing import Any, Protocol

START_TIMEOUT_S = 120
ADDRESS = re.compile(r"Started HTTPService at [^ ]*:(\d+)")


class Serve(Protocol):
    """Starts a server of that repository."""

    def __call__(self, repository: Path, *arguments: str, env: Mapping[str, str] | None = None) -> "ServerProcess": ...


class ServerProcess:
    """The process, which listens on ports that the system chose, and what it has logged so far."""

    def __init__(self, repository: Path, arguments: Sequence[str], env: Mapping[str, str] | None):
        ports = ["--http-port=0", "--allow-grpc=false", "--allow-metrics=false", "--http-address=127.0.0.1"]
        command = [sys.executable, "-m", "atoll", "serve", f"--model-repository={repository}", *ports, *arguments]
        # A library may print what it has found in a damaged file, and who reads must go on, or the server waits.
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, encoding="utf-8", errors="replace", env=dict(env or os.environ)
        )
        self.log: list[str] = []
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.port = self._started()
        except BaseException:
            self.stop()
            raise

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self.log.append(line)
            self._lines.put(line)
        self._lines.put("")

    def _started(self) -> int:
        while True:
            line = self._lines.get(timeout=START_TIMEOUT_S)
            assert line, f"the server ended:\n{''.join(self.log)}"
            found = ADDRESS.search(line)
            if found:
                return int(found[1])

    def get(self, path: str) -> Any:
        """The JSON that it answers."""
        return self._asked(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def post(self, path: str, body: Any) -> Any:
        """The same to a document."""
        data = json.dumps(body).encode()
        return self._asked(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method="POST"))

    def _asked(self, request: urllib.request.Request) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.code}: {error.read().decode()}") from error

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(10)
            if self.process.stderr:
                self.process.stderr.close()
