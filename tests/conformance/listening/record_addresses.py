"""Asks the real server which addresses it takes: python -m tests.conformance.listening.record_addresses"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conformance.process import REAL_TRITON, free_ports
from tests.conformance.recording import write_down

ADDRESSES = (
    "127.0.0.1",
    "0.0.0.0",
    "localhost",
    "::1",
    "[::1]",
    "::",
    "[::]",
    "ipv4:127.0.0.1",
    "ipv6:::1",
    "ipv6:[::1]",
    "ipv6:::",
)
KINDS = ("http", "grpc")
_WAIT_S = 30.0


def reached(port: int) -> list[str]:
    """Which of this machine's own addresses answer on that port."""
    found = []
    for host in ("127.0.0.1", "::1"):
        with contextlib.suppress(OSError), socket.create_connection((host, port), 5):
            found.append(host)
    return found


def _ask(folder: Path, kind: str, address: str) -> Sequence[str] | str:
    ports = dict(zip(("http", "grpc", "metrics"), free_ports(3), strict=True))
    other = "grpc" if kind == "http" else "http"
    command = [
        *(str(REAL_TRITON), f"--model-repository={folder}", f"--{kind}-address={address}"),
        *(f"--{other}-address=127.0.0.1", "--metrics-address=127.0.0.1"),
        *(f"--{name}-port={port}" for name, port in ports.items()),
    ]
    log = folder.parent / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + _WAIT_S
    try:
        while "Started Metrics" not in log.read_text(errors="replace"):
            if process.poll() is not None:
                return "does not start"
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.05)
        return reached(ports[kind])
    finally:
        process.kill()
        process.wait()


def record(folder: Path) -> dict[str, Any]:
    """By kind of port and address: what is reached, or that the server does not start."""
    (folder / "models").mkdir()
    return {kind: {one: _ask(folder / "models", kind, one) for one in ADDRESSES} for kind in KINDS}


if __name__ == "__main__":
    sys.exit(write_down(record, "addresses"))
